//! A program with a dashboard to look at: real load on two supervisors. The tests in `browser` run
//! it.
//!
//! ```text
//! cargo run -p atasker-tests-seen --bin dashboard_demo -- [OPTIONS]
//!   --addr ADDR     the address (default: 127.0.0.1:0)
//!   --token TOKEN   require a token
//!   --read-only     refuse writes
//!   --nest HOW      within a service, at /tasks: `nest` or `nest_service`
//!   --load LOAD     `busy` (default), `steady`, `crowd` (100,000 waiting tasks) or `none`
//! ```
//!
//! It prints the URL, and ends when its standard input is closed.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use atasker::{
    BackgroundWorker, Cluster, Dashboard, EventWorker, IntervalWorker, Job, JobHandle, LoopWorker,
    MpPoolConfig, Node, NodeConfig, PoolConfig, Priority, QueueWorker, Supervisor, Task,
    TaskBuilder, TaskContext, WorkerContext, background_task,
};

/// Longer than anything here runs.
const LONG: Duration = Duration::from_secs(3600);

struct Options {
    addr: String,
    token: Option<String>,
    read_only: bool,
    nest: Option<String>,
    load: String,
}

fn options() -> Options {
    let mut options = Options {
        addr: "127.0.0.1:0".to_owned(),
        token: None,
        read_only: false,
        nest: None,
        load: "busy".to_owned(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().expect("a value");
        match arg.as_str() {
            "--addr" => options.addr = value(),
            "--token" => options.token = Some(value()),
            "--read-only" => options.read_only = true,
            "--nest" => options.nest = Some(value()),
            "--load" => options.load = value(),
            other => panic!("unknown option {other}"),
        }
    }
    options
}

fn main() {
    let options = options();
    let shop = Supervisor::builder()
        .id("shop")
        .thread_pool(PoolConfig::new(6).reserve_normal(2).reserve_high(2))
        .mp_pool(MpPoolConfig::new(2).reserve_high(1))
        .build();
    let batch = Supervisor::builder().id("batch").thread_pool(PoolConfig::new(2)).build();

    let mut dashboard = Dashboard::new().title("Demo shop");
    if let Some(token) = options.token {
        dashboard = dashboard.token(token);
    }
    if options.read_only {
        dashboard = dashboard.read_only();
    }
    let url = match options.nest.as_deref() {
        None => dashboard.serve(options.addr.as_str()).expect("the address is free").url(),
        Some(how) => serve_nested(&options.addr, how, dashboard),
    };

    let _load: Box<dyn std::any::Any> = match options.load.as_str() {
        "busy" => Box::new(busy(&shop, &batch)),
        "steady" => Box::new(steady(&shop)),
        "crowd" => Box::new(crowd(&shop)),
        _ => Box::new(()),
    };
    println!("{url}");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    // At once: worker processes end with the program.
    std::process::exit(0);
}

fn serve_nested(addr: &str, how: &str, dashboard: Dashboard) -> String {
    let listener = std::net::TcpListener::bind(addr).expect("the address is free");
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/tasks", listener.local_addr().unwrap());
    let router = dashboard.into_router();
    let app = match how {
        "nest" => axum::Router::new().nest("/tasks", router),
        _ => axum::Router::new().nest_service("/tasks", router),
    };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
        })
    });
    url
}

/// Numbers that differ.
fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33
}

#[background_task(tt = "mp")]
fn resize(width: u32, millis: u64) -> u32 {
    assert_ne!(width % 97, 0, "the image is empty");
    if width % 389 == 1 {
        std::process::abort();
    }
    let end = std::time::Instant::now() + Duration::from_millis(millis);
    while std::time::Instant::now() < end {
        std::hint::spin_loop();
    }
    width / 2
}

#[background_task(tt = "mp")]
fn transcode(ctx: &TaskContext, frames: u64) {
    for frame in 0..frames {
        ctx.progress(frame, frames);
        if ctx.wait_stop(Duration::from_millis(20)) {
            return;
        }
    }
}

#[background_task]
fn charge(order: u64) -> Result<(), String> {
    std::thread::sleep(Duration::from_micros(order % 900));
    if order.is_multiple_of(1_500) { Err("the card was declined".to_owned()) } else { Ok(()) }
}

fn report(ctx: &TaskContext, pages: u64) {
    for page in 0..pages {
        ctx.progress(page, pages);
        ctx.message(&format!("page {page}"));
        if ctx.wait_stop(Duration::from_millis(250)) {
            return;
        }
    }
}

fn reports(sup: &Supervisor, name: &'static str, pages: u64) -> Task<()> {
    let task = TaskBuilder::with_context(move |ctx: &TaskContext| report(ctx, pages));
    task.name(name).supervisor(sup).start()
}

/// The handles of background workers and jobs.
fn workers(sup: &Supervisor) -> (Vec<BackgroundWorker>, JobHandle) {
    let refresh = IntervalWorker::builder(Duration::from_secs(2)).name("cache::refresh");
    let refresh = refresh.supervisor(sup).run(|_| std::thread::sleep(Duration::from_millis(5)));
    let reindex = EventWorker::builder().name("search::reindex").supervisor(sup).run(|_| ());
    let audit = QueueWorker::builder().name("audit::write").supervisor(sup);
    let audit = audit.run(|_: &WorkerContext, _: u64| std::thread::sleep(Duration::from_millis(3)));
    let feed =
        LoopWorker::builder().name("feed::poll").supervisor(sup).run(|ctx: &WorkerContext| {
            ctx.wait_stop(Duration::from_millis(400));
            if ctx.runs() % 20 == 19 { Err("the feed is not available") } else { Ok(()) }
        });
    refresh.start();
    reindex.start();
    audit.start();
    feed.start();
    for item in 0..200 {
        let _ = audit.put(item);
    }
    let job = sup.create_job(Job::every(Duration::from_secs(5)).name("cleanup"), || ());
    (vec![refresh.into(), reindex.into(), audit.into(), feed.into()], job)
}

#[background_task(tt = "remote", name = "import::retried")]
fn succeeds_the_second_time() -> Result<(), String> {
    static FAILED: AtomicBool = AtomicBool::new(false);
    if FAILED.swap(true, Ordering::Relaxed) { Ok(()) } else { Err("not yet".to_owned()) }
}

#[background_task(tt = "remote", name = "import::dropped <b>markup</b>")]
fn never_succeeds() {
    panic!("the import failed <i>on purpose</i>");
}

#[background_task(tt = "remote", name = "render::running")]
fn renders(ctx: &TaskContext) {
    ctx.wait_stop(LONG);
}

#[background_task(tt = "remote", name = "render::waiting", queue = "gpu", priority = "high")]
fn renders_on_gpu() {}

/// A cluster with a node, which does not serve one of the queues.
fn cluster(sup: &Supervisor) -> (Node, Vec<Task<()>>) {
    let cluster = Cluster::in_memory();
    sup.join_cluster(&cluster);
    let node = NodeConfig::threads(PoolConfig::new(4).reserve_high(1)).name("render-1");
    let node = cluster.serve(node).expect("the cluster is in memory");
    let gpu = (0..3).map(|_| renders_on_gpu::builder().supervisor(sup).start());
    let tasks = gpu.chain([renders::builder().supervisor(sup).start()]).collect();
    succeeds_the_second_time::builder().supervisor(sup).start().detach();
    never_succeeds::builder().supervisor(sup).start().detach();
    (node, tasks)
}

/// Load that looks like that of a service.
fn busy(shop: &Supervisor, batch: &Supervisor) -> impl Sized + use<> {
    let handles = (workers(shop), cluster(shop));
    let long = [
        reports(shop, "reports::monthly", 600),
        reports(shop, "reports::inventory", 240),
        reports(batch, "backup::upload", 1_000),
    ];
    transcode::builder(5_000).name("video::transcode").supervisor(shop).start().detach();
    let later: Vec<Task<()>> = (1..4)
        .map(|hour| {
            let task = TaskBuilder::new(|| ()).name("backup::verify").supervisor(batch);
            task.delay(Duration::from_secs(3600 * hour)).priority(Priority::Low).start()
        })
        .collect();
    let shop = shop.clone();
    std::thread::spawn(move || {
        loop {
            let orders = 40 + next() % 60;
            for _ in 0..orders {
                let n = next();
                let priority = match n % 10 {
                    0 => Priority::High,
                    1..4 => Priority::Low,
                    _ => Priority::Normal,
                };
                charge::builder(n)
                    .name("orders::charge")
                    .priority(priority)
                    .supervisor(&shop)
                    .start()
                    .detach();
                if n.is_multiple_of(5) {
                    let resize = resize::builder(n as u32, 5 + n % 60).name("images::resize");
                    resize.priority(priority).supervisor(&shop).start().detach();
                }
                if n.is_multiple_of(4) {
                    let pause = Duration::from_millis(20 + n % 300);
                    let send = TaskBuilder::future(async move { tokio::time::sleep(pause).await });
                    send.name("mail::send").supervisor(&shop).start().detach();
                }
            }
            std::thread::sleep(Duration::from_millis(60 + next() % 80));
        }
    });
    (handles, long, later)
}

/// Tasks that stay as they are until they are told otherwise.
fn steady(sup: &Supervisor) -> impl Sized + use<> {
    let handles = (workers(sup), cluster(sup));
    let thread = reports(sup, "thread until stopped", 1_000_000);
    // Ignores the request to stop.
    let deaf = TaskBuilder::new(|| std::thread::sleep(LONG)).name("deaf thread");
    deaf.supervisor(sup).start().detach();
    transcode::builder(1_000_000).name("process until killed").supervisor(sup).start().detach();
    let future = TaskBuilder::future(std::future::pending::<()>()).name("future until killed");
    future.supervisor(sup).start().detach();
    let delayed =
        |name: &'static str| TaskBuilder::new(|| ()).name(name).delay(LONG).supervisor(sup).start();
    let waiting = [delayed("waiting <b>markup</b>"), delayed("waiting until canceled")];
    let fails = TaskBuilder::<()>::new(|| panic!("it failed <i>on purpose</i>\nsecond line"));
    fails.name("failing").supervisor(sup).start().detach();
    (handles, thread, waiting)
}

/// More waiting tasks than can be listed, and as many as can be run beside them.
fn crowd(sup: &Supervisor) -> impl Sized + use<> {
    sup.set_thread_pool(PoolConfig::new(2).reserve_normal(1));
    let running =
        [reports(sup, "reports::first", 1_000_000), reports(sup, "reports::second", 1_000_000)];
    let waiting: Vec<Task<()>> = (0..100_000)
        .map(|n| {
            let task = TaskBuilder::new(|| ()).name(format!("crowd {n}")).priority(Priority::Low);
            task.supervisor(sup).start()
        })
        .collect();
    let busy = sup.clone();
    std::thread::spawn(move || {
        loop {
            for _ in 0..50 {
                charge::builder(next()).name("orders::charge").supervisor(&busy).start().detach();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    (running, waiting)
}
