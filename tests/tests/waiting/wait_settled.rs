//! Does `wait_settled!` return every outcome, including failures?

use atasker::{Supervisor, Task, TaskError, wait_settled};

fn divide(sup: &Supervisor, by: u32) -> Task<u32> {
    sup.spawn(move || 12 / by)
}

#[test]
fn returns_one_result_per_task() {
    let sup = Supervisor::builder().build();
    let (a, b): (Result<u32, TaskError>, Result<&str, TaskError>) =
        wait_settled!(divide(&sup, 0), sup.spawn(|| "b"));
    assert!(a.unwrap_err().is_panic());
    assert_eq!(b.unwrap(), "b");

    let list: Vec<Task<u32>> = (0..4).map(|by| divide(&sup, by)).collect();
    let lent: Vec<Result<&u32, TaskError>> = wait_settled!(&list);
    assert!(lent[0].as_ref().unwrap_err().is_panic());
    assert_eq!(lent[1..].iter().flatten().collect::<Vec<_>>(), [&&12, &&6, &&4]);
    assert_eq!(wait_settled!(&list[2..]).into_iter().flatten().sum::<u32>(), 10);
    let owned: Vec<Result<u32, TaskError>> = wait_settled!(list);
    assert_eq!(owned.into_iter().flatten().collect::<Vec<_>>(), [12, 6, 4]);

    let array: [Result<u32, TaskError>; 2] = wait_settled!([divide(&sup, 0), divide(&sup, 1)]);
    assert!(array[0].is_err() && array[1].is_ok());

    let task = divide(&sup, 2);
    let one: Result<&u32, TaskError> = wait_settled!(&task);
    assert_eq!(one.unwrap(), &6);
    let one: Result<u32, TaskError> = wait_settled!(task,);
    assert_eq!(one.unwrap(), 6);

    let (list, one) = wait_settled!(vec![divide(&sup, 0)], divide(&sup, 3));
    assert!(list[0].is_err());
    assert_eq!(one.unwrap(), 4);
}

#[test]
fn includes_canceled_tasks() {
    let sup = Supervisor::builder().build();
    let task = sup.spawn_async(std::future::pending::<u32>());
    task.kill().unwrap();
    let (killed, good) = wait_settled!(task, sup.spawn(|| 1));
    assert!(killed.unwrap_err().is_canceled());
    assert_eq!(good.unwrap(), 1);
}
