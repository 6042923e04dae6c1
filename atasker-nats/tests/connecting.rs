//! What is wrong at `connect`, and what the error says.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use atasker_nats::__test::Failure;
use atasker_nats::{Nats, Storage};
use atasker_runtime::__broker::{BrokerError, Expect, Kept};
use atasker_runtime::{ClusterError, Overflow};
use support::{Server, run, until};

const JETSTREAM: &str = "jetstream { store_dir: \"STORE\" }";

fn failure(nats: Nats) -> Failure {
    run(nats.__broker()).err().expect("it has connected")
}

fn connects(nats: Nats) {
    run(async {
        let broker = nats.__broker().await.unwrap();
        broker.write("k", Expect::Anything, "t", vec![1]).await.unwrap();
        broker.close().await;
    });
}

#[test]
fn without_a_server_it_is_unreachable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let begin = Instant::now();
    let failure = failure(Nats::new(format!("nats://127.0.0.1:{port}")));
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_server_that_says_nothing_is_unreachable_in_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", silent.local_addr().unwrap());
    let begin = Instant::now();
    let failure = failure(Nats::new(url).connect_timeout(Duration::from_millis(500)));
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

/// A server that greets, and sends messages back to their sender, but has no JetStream and does not say so.
fn half_a_server(listener: std::net::TcpListener) {
    use std::io::{BufRead, BufReader, Read, Write};
    for stream in listener.incoming().map_while(Result::ok) {
        let mut from = BufReader::new(stream.try_clone().unwrap());
        let mut to = stream;
        let greeting = "INFO {\"server_id\":\"x\",\"server_name\":\"x\",\"version\":\"2.9.10\",\"go\":\"x\",\
                        \"host\":\"127.0.0.1\",\"port\":1,\"headers\":true,\"max_payload\":1048576,\"proto\":1}\r\n";
        if to.write_all(greeting.as_bytes()).is_err() {
            continue;
        }
        // The id and the beginning of what was subscribed to.
        let mut subscribed: Vec<(String, String)> = Vec::new();
        let mut line = String::new();
        while from.read_line(&mut line).is_ok_and(|read| read > 0) {
            let words: Vec<_> = line.split_whitespace().collect();
            let reply = match words[..] {
                ["PING"] => "PONG\r\n".to_owned(),
                ["SUB", subject, .., id] => {
                    subscribed.push((id.to_owned(), subject.trim_end_matches('*').to_owned()));
                    String::new()
                }
                ["PUB" | "HPUB", subject, .., length] => {
                    let mut payload = vec![0; length.parse::<usize>().unwrap() + 2];
                    if from.read_exact(&mut payload).is_err() {
                        break;
                    }
                    let to = subscribed.iter().find(|(_, prefix)| subject.starts_with(&**prefix));
                    to.map(|(id, _)| format!("MSG {subject} {id} 0\r\n\r\n")).unwrap_or_default()
                }
                _ => String::new(),
            };
            if to.write_all(reply.as_bytes()).is_err() {
                break;
            }
            line.clear();
        }
    }
}

#[test]
fn a_server_that_sets_nothing_up_is_unreachable_in_time() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    std::thread::spawn(|| half_a_server(listener));
    let begin = Instant::now();
    let failure = failure(Nats::new(url).connect_timeout(Duration::from_secs(1)));
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
    // A single request is given 5 seconds later on.
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[test]
fn each_url_is_tried() {
    let server = Server::start();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let urls = format!("nats://{},{}", silent.local_addr().unwrap(), server.url());
    connects(Nats::new(urls).connect_timeout(Duration::from_secs(4)));
}

#[test]
fn the_public_builder_connects() {
    let server = Server::start();
    let cluster = server.nats().namespace("video").connect().unwrap();
    assert!(cluster.is_connected());
    cluster.close();
    let cluster = run(server.nats().namespace("video").connect_async()).unwrap();
    assert!(cluster.is_connected());
    let other = server.nats().namespace("video").keep(Duration::from_secs(3600)).connect();
    assert!(matches!(other, Err(ClusterError::Mismatch { .. })), "{other:?}");
    cluster.close();
}

#[test]
fn passwords_are_checked() {
    let server =
        Server::with(&format!("{JETSTREAM}\nauthorization {{ user: me, password: \"p@ss\" }}"));
    let host = format!("127.0.0.1:{}", server.port);
    for url in [format!("nats://{host}"), format!("nats://me:wrong@{host}")] {
        let failure = failure(Nats::new(url));
        assert!(matches!(failure, Failure::Denied(_)), "{failure:?}");
    }
    connects(Nats::new(format!("nats://me:p%40ss@{host}")));
    connects(Nats::new(format!("nats://{host}")).user_and_password("me", "p@ss"));
    connects(Nats::new(format!("nats://me:wrong@{host}")).user_and_password("me", "p@ss"));
}

#[test]
fn tokens_are_checked() {
    let server = Server::with(&format!("{JETSTREAM}\nauthorization {{ token: secret }}"));
    let host = format!("127.0.0.1:{}", server.port);
    let wrong = failure(Nats::new(server.url()).token("wrong"));
    assert!(matches!(wrong, Failure::Denied(_)), "{wrong:?}");
    connects(Nats::new(server.url()).token("secret"));
    connects(Nats::new(format!("nats://secret@{host}")));
}

/// Each right that is needed, taken away in turn.
#[test]
fn missing_rights_are_denied() {
    let publish = ["atasker.default.>", "$JS.API.>", "$JS.ACK.>", "$JS.FC.>", "_INBOX.>"];
    let subscribe = ["atasker.default.m.>", "_INBOX.>"];
    let mut users = String::new();
    let mut count = 0;
    for without in 0..=publish.len() + subscribe.len() {
        let list = |all: &[&str], from: usize| {
            let kept = all.iter().enumerate().filter(|(i, _)| i + from != without);
            kept.map(|(_, s)| format!("\"{s}\"")).collect::<Vec<_>>().join(", ")
        };
        users += &format!(
            "{{ user: u{without}, password: p, permissions: {{ publish: [{}], subscribe: [{}] }} }}\n",
            list(&publish, 0),
            list(&subscribe, publish.len())
        );
        count += 1;
    }
    let server = Server::with(&format!("{JETSTREAM}\nauthorization {{ users: [ {users} ] }}"));
    let nats = |user: usize| Nats::new(server.url()).user_and_password(&format!("u{user}"), "p");
    connects(nats(count - 1));
    for user in 0..count - 1 {
        let begin = Instant::now();
        let failure = failure(nats(user));
        assert!(matches!(&failure, Failure::Denied(_)), "without right {user}: {failure:?}");
        assert!(begin.elapsed() < Duration::from_secs(4), "{user}: {:?}", begin.elapsed());
    }
}

/// A right that is taken away later, while the program runs.
#[test]
fn rights_that_are_revoked_are_denied_later() {
    let config = |allowed: &str| {
        format!(
            "{JETSTREAM}\nauthorization {{ users: [ {{ user: u, password: p, permissions: {{ publish: \
             [{allowed}] }} }} ] }}"
        )
    };
    let all = "\">\"";
    let server = Server::with(&config(all));
    run(async {
        let nats = Nats::new(server.url()).user_and_password("u", "p");
        let broker = nats.__broker().await.unwrap();
        let listen = format!("listen: \"127.0.0.1:{}\"\n", server.port);
        let text = listen + &config("\"$JS.>\", \"_INBOX.>\"");
        let text = text.replace("STORE", &server.path().join("store").display().to_string());
        server.write("server.conf", &text);
        server.signal(libc::SIGHUP);
        let denied = |r: Result<u64, BrokerError>| matches!(r, Err(BrokerError::Denied(_)));
        until("denied", || async {
            denied(broker.write("k", Expect::Anything, "t", vec![]).await)
        })
        .await;
    });
}

#[test]
fn without_jetstream_it_is_unavailable() {
    let server = Server::with("");
    let begin = Instant::now();
    let failure = failure(Nats::new(server.url()));
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    assert!(
        matches!(&failure, Failure::Unavailable(text) if text.contains("JetStream")),
        "{failure:?}"
    );
}

#[test]
fn without_space_it_is_unavailable() {
    // Not even room for one message.
    let server = Server::with("jetstream { store_dir: \"STORE\", max_file_store: 100000 }");
    run(async {
        let broker = server.nats().__broker().await.unwrap();
        let mut last = Ok(());
        for i in 0..100 {
            last = broker.put_block(Kept::AsRecords, "k", i, vec![0; 10_000]).await;
            if last.is_err() {
                break;
            }
        }
        assert!(matches!(last, Err(BrokerError::Unavailable(_))), "{last:?}");
    });
}

#[test]
fn small_messages_only_are_unavailable() {
    let server = Server::with(&format!("{JETSTREAM}\nmax_payload: 100000"));
    let failure = failure(Nats::new(server.url()));
    assert!(
        matches!(&failure, Failure::Unavailable(text) if text.contains("max_payload")),
        "{failure:?}"
    );
}

#[test]
fn other_settings_are_a_mismatch() {
    let server = Server::start();
    connects(server.nats());
    let second = Duration::from_secs(1);
    let others = [
        ("lost_after", server.nats().lost_after(second * 3)),
        ("keep", server.nats().keep(second * 3600)),
        ("queue_limit", server.nats().queue_limit(7, Overflow::Reject)),
        ("storage", server.nats().storage(Storage::Memory)),
        ("replicas", server.nats().replicas(3)),
    ];
    for (setting, nats) in others {
        match failure(nats) {
            Failure::Mismatch { what, here, there } => {
                assert_eq!(what, setting);
                assert_ne!(here, there);
                eprintln!("{what}: {here} here, {there} there");
            }
            other => panic!("{setting}: {other:?}"),
        }
    }
    // Nothing was changed, and what is this program's own may differ.
    connects(server.nats().queue_limit(1_000_000, Overflow::Block).pending_bytes(1 << 20));
    connects(server.nats().large_after(1000));
}

/// Makes a certificate authority, and certificates of a server and a client.
fn certificates(server: &Server) {
    let script = "set -e; cd \"$1\"
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem \
            -addext basicConstraints=critical,CA:TRUE
        for name in server client; do
            openssl req -newkey rsa:2048 -nodes -subj /CN=$name -keyout $name.key -out $name.csr
            printf 'subjectAltName=IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' > ext
            openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                -extfile ext -out $name.pem
        done";
    let output = Command::new("sh").args(["-c", script, "sh"]).arg(server.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn certificates_are_checked() {
    let mut server = Server::start();
    server.stop();
    certificates(&server);
    server.set(&format!(
        "{JETSTREAM}\ntls {{ cert_file: \"DIR/server.pem\", key_file: \"DIR/server.key\" }}"
    ));
    server.run();
    let file = |name: &str| server.path().join(name);
    let url = format!("tls://127.0.0.1:{}", server.port);
    // Signed by no one that the system knows.
    for nats in [Nats::new(&url), Nats::new(server.url())] {
        let failure = failure(nats);
        assert!(matches!(&failure, Failure::Denied(_)), "{failure:?}");
    }
    connects(Nats::new(&url).root_certificate(file("ca.pem")));
    // The server requires it, so the url need not.
    connects(Nats::new(server.url()).root_certificate(file("ca.pem")));
    connects(Nats::new(server.url()).root_certificate(file("ca.pem")).require_tls(true));
    let missing = failure(Nats::new(&url).root_certificate(file("none.pem")));
    assert!(matches!(&missing, Failure::Invalid(_)), "{missing:?}");

    server.stop();
    server.set(&format!(
        "{JETSTREAM}\ntls {{ cert_file: \"DIR/server.pem\", key_file: \"DIR/server.key\", ca_file: \
         \"DIR/ca.pem\", verify: true }}"
    ));
    server.run();
    let trusting = Nats::new(&url).root_certificate(server.path().join("ca.pem"));
    let unknown = failure(trusting.clone());
    assert!(matches!(&unknown, Failure::Denied(_)), "{unknown:?}");
    let path = server.path();
    connects(trusting.client_certificate(path.join("client.pem"), path.join("client.key")));
}

#[test]
fn a_server_without_tls_is_refused_if_tls_is_required() {
    let server = Server::start();
    for nats in [
        Nats::new(server.url()).require_tls(true),
        Nats::new(format!("tls://127.0.0.1:{}", server.port)),
    ] {
        let failure = failure(nats);
        assert!(matches!(&failure, Failure::Unreachable(_)), "{failure:?}");
    }
}

#[cfg(feature = "nkeys")]
#[test]
fn nkeys_are_checked() {
    // A pair made for this test.
    let pair = nkeys::KeyPair::new_user();
    let server = Server::with(&format!(
        "{JETSTREAM}\nauthorization {{ users: [ {{ nkey: {} }} ] }}",
        pair.public_key()
    ));
    connects(Nats::new(server.url()).nkey(&pair.seed().unwrap()));
    let other = nkeys::KeyPair::new_user().seed().unwrap();
    for nats in [Nats::new(server.url()).nkey(&other), Nats::new(server.url())] {
        let failure = failure(nats);
        assert!(matches!(&failure, Failure::Denied(_)), "{failure:?}");
    }
    let invalid = failure(Nats::new(server.url()).nkey("SUnonsense"));
    assert!(matches!(&invalid, Failure::Denied(_) | Failure::Invalid(_)), "{invalid:?}");
    let missing = failure(Nats::new(server.url()).credentials_file("/none/x.creds"));
    assert!(matches!(&missing, Failure::Invalid(_)), "{missing:?}");
}
