//! Messages to and from running tasks on a thread, on an aloop and in a worker process: `cargo run
//! --example talk`.
//!
//! A small server answers questions of arithmetic. The code is the same in every place: the same
//! context, the same operations of the handle.

use std::error::Error;

use atasker::{RecvError, Task, TaskContext, TaskType, background_task};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Question {
    Sum(Vec<i64>),
    /// Whether a number is prime.
    Prime(u64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Answer {
    Number(i64),
    Yes,
    No,
}

type Context = TaskContext<Question, Answer>;

fn answer(question: Question) -> Answer {
    match question {
        Question::Sum(numbers) => Answer::Number(numbers.iter().sum()),
        Question::Prime(n) if n > 1 && (2..n).take_while(|d| d * d <= n).all(|d| n % d != 0) => {
            Answer::Yes
        }
        Question::Prime(_) => Answer::No,
    }
}

/// Answers until a stop is requested, and returns the number of questions.
fn serve(ctx: &Context) -> u64 {
    let mut answered = 0;
    ctx.message("ready");
    loop {
        // Returns `Stopped` once a stop was requested and no message is queued, so no question is
        // lost and the loop always ends.
        match ctx.recv() {
            Ok(question) => ctx.send(answer(question)).expect("the handle is there"),
            Err(RecvError::Stopped) => return answered,
            Err(error) => panic!("{error}"),
        }
        answered += 1;
        ctx.progress(answered, 0);
    }
}

#[background_task(name = "on a thread")]
fn on_a_thread(ctx: &TaskContext<Question, Answer>) -> u64 {
    serve(ctx)
}

#[background_task(tt = "mp", name = "in a process")]
fn in_a_process(ctx: &TaskContext<Question, Answer>) -> u64 {
    serve(ctx)
}

#[background_task(name = "on an aloop")]
async fn on_an_aloop(ctx: TaskContext<Question, Answer>) -> u64 {
    let mut answered = 0;
    ctx.message("ready");
    while let Ok(question) = ctx.recv_async().await {
        if ctx.send_async(answer(question)).await.is_err() {
            break;
        }
        answered += 1;
        ctx.progress(answered, 0);
    }
    answered
}

/// Talks to a server in any place.
fn talk(server: Task<u64, Question, Answer>) -> Result<(), Box<dyn Error>> {
    let questions = [Question::Sum(vec![20, 20, 2]), Question::Prime(97), Question::Prime(91)];
    let answers = [Answer::Number(42), Answer::Yes, Answer::No];
    for (question, wanted) in questions.into_iter().zip(answers) {
        server.send(question.clone())?;
        let got = server.recv()?;
        assert_eq!(got, wanted);
        println!("{:14} {question:?}: {got:?}", server.name());
    }
    let place = match server.info().worker_pid {
        Some(pid) => format!("worker process {pid}"),
        None => format!("{:?}", server.tt()),
    };
    server.stop();
    let served = server.wait()?;
    println!("{:14} answered {served} questions in {place}", server.name());
    assert_eq!(*served, 3);
    // An ended task accepts no message and returns the question.
    let refused = server.send(Question::Prime(2)).expect_err("the task has ended");
    println!("{:14} did not take {:?}", server.name(), refused.0);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let servers = [on_a_thread(), in_a_process(), on_an_aloop()];
    assert_eq!(
        servers.each_ref().map(|server| server.tt()),
        [TaskType::Thread, TaskType::Mp, TaskType::Async]
    );
    servers.into_iter().try_for_each(talk)
}
