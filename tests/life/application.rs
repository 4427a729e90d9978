//! The application of these tests: does what the words of its command line say. Start at [`act`].

#![expect(unsafe_code, reason = "a process that forks, and signal handlers")]

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use nix::libc;
use nix::unistd::{ForkResult, Uid, fork, setsid};

/// What a stop signal makes it do: the number of a signal, or an exit status and 1000.
static AT_STOP: AtomicI32 = AtomicI32::new(0);

extern "C" fn at_stop(_: libc::c_int) {
    match AT_STOP.load(Ordering::Relaxed) {
        // SAFETY: both may be called in a signal handler.
        status @ 1000.. => unsafe { libc::_exit(status - 1000) },
        signal => unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::kill(libc::getpid(), signal);
        },
    }
}

extern "C" fn at_hangup(_: libc::c_int) {
    // SAFETY: write(2) may be called in a signal handler, and reads the 4 bytes that are given.
    unsafe { libc::write(1, b"hup\n".as_ptr().cast(), 4) };
}

fn on_stop(what: i32) {
    AT_STOP.store(what, Ordering::Relaxed);
    // SAFETY: the handler makes system calls only.
    unsafe { libc::signal(libc::SIGTERM, at_stop as *const () as libc::sighandler_t) };
}

/// Is the application: does what the words say, one after the other.
pub(super) fn act(words: &[&str]) -> ExitCode {
    let mut socket = None;
    let mut listeners = Vec::new();
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|word| word.parse::<usize>().ok()).expect("a number");
        match word {
            "on-stop-signal" => on_stop(i32::try_from(number()).expect("a signal")),
            "on-stop-exit" => on_stop(1000 + i32::try_from(number()).expect("a status")),
            // As daemon(3) does it, and once more.
            "background" => {
                for _ in 0..2 {
                    // SAFETY: this process has one thread.
                    if let ForkResult::Parent { .. } = unsafe { fork() }.expect("it can fork") {
                        return ExitCode::SUCCESS;
                    }
                    let _ = setsid();
                }
                let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null").expect("it is there");
                nix::unistd::dup2_stdin(&null).and_then(|()| nix::unistd::dup2_stdout(&null)).expect("they are open");
                nix::unistd::dup2_stderr(&null).expect("it is open");
            }
            "helper" => {
                // SAFETY: this process has one thread.
                if let ForkResult::Child = unsafe { fork() }.expect("it can fork") {
                    std::thread::sleep(Duration::from_mins(1));
                }
            }
            "bind" => socket = Some(UdpSocket::bind("0.0.0.0:514").expect("the port is free")),
            "listen" => {
                listeners.extend([53, 443, 514].map(|port| TcpListener::bind(("0.0.0.0", port)).expect("free")))
            }
            "read" | "read-on" => {
                let count = if word == "read" { number() } else { usize::MAX };
                let socket = socket.as_ref().expect("it is bound");
                for _ in 0..count {
                    socket.recv(&mut [0; 2_048]).expect("a datagram");
                }
            }
            "wait" => std::thread::sleep(Duration::from_millis(number() as u64)),
            "connect" => {
                let port = u16::try_from(number()).expect("a port");
                drop(TcpStream::connect(("127.0.0.1", port)).expect("it is served"));
            }
            "exit" => return ExitCode::from(u8::try_from(number()).expect("a status")),
            // Prints this on SIGHUP, as the next word.
            "on-hangup" => {
                // SAFETY: the handler makes one system call.
                unsafe { libc::signal(libc::SIGHUP, at_hangup as *const () as libc::sighandler_t) };
            }
            // Each datagram is a line, and takes so many milliseconds.
            "count" => {
                let pause = Duration::from_millis(number() as u64);
                let socket = socket.as_ref().expect("it is bound");
                loop {
                    socket.recv(&mut [0; 2_048]).expect("a datagram");
                    std::thread::sleep(pause);
                    println!("read");
                }
            }
            "kill" => {
                // SAFETY: kill(2) takes no pointers.
                unsafe { libc::kill(libc::getpid(), i32::try_from(number()).expect("a signal")) };
            }
            "become" => nix::unistd::setuid(Uid::from_raw(u32::try_from(number()).expect("a user"))).expect("root may"),
            // Without end, in a process of its own.
            "flood" => {
                // SAFETY: this process has one thread.
                if let ForkResult::Child = unsafe { fork() }.expect("it can fork") {
                    loop {
                        long(&mut std::io::stdout(), 1 << 20);
                    }
                }
            }
            "eat" => {
                let mut eaten = Vec::new();
                for _ in 0..number() {
                    eaten.push(vec![1_u8; 1 << 20]);
                }
                println!("ate {}", eaten.len());
            }
            "binary" => {
                std::io::stdout().write_all(b"\xff\0\x1b[31m\r\n\xfe").expect("it can be written");
            }
            "clock" => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later");
                println!("{}", now.as_secs());
            }
            "folder" => println!("folder {}", std::env::current_dir().expect("there is one").display()),
            "print" => {
                let length = number();
                long(&mut std::io::stdout(), length);
            }
            _ => {
                let text = words.next().expect("a text");
                act_on_text(word, text, &mut words);
            }
        }
    }
    ExitCode::SUCCESS
}

/// Does what a word says that has a text.
fn act_on_text(word: &str, text: &str, words: &mut dyn Iterator<Item = &str>) {
    match word {
        "say" => {
            let text = text.replace('_', " ");
            print!("{text}");
            eprintln!("{text}");
        }
        "show" => eprintln!("{text}"),
        "fill" => {
            let mut file = fs::File::create(text).expect("it can be written");
            loop {
                long(&mut file, 1 << 20);
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        "variable" => println!("{text}={}", std::env::var(text).expect("it is set")),
        "require" => drop(fs::metadata(text).expect("it is there")),
        "serve" => {
            let listener = UnixListener::bind(text).expect("the name is free");
            std::thread::spawn(move || {
                listener.incoming().flatten().try_for_each(|mut asker| asker.write_all(b"served\n"))
            });
        }
        "ask" => {
            let mut server = UnixStream::connect(text).expect("it is served");
            std::io::copy(&mut server, &mut std::io::stdout()).expect("it answers");
        }
        "append" => {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(text).expect("it can be opened");
            file.write_all(b"x").expect("it can be written");
        }
        "pid" => fs::write(text, std::process::id().to_string()).expect("it can be written"),
        "pipe" => nix::unistd::mkfifo(text, nix::sys::stat::Mode::S_IRWXU).expect("a pipe can be made"),
        "write" => {
            let length = words.next().and_then(|word| word.parse().ok()).expect("a number");
            let mut file = fs::File::create(text).expect("it can be written");
            long(&mut file, length);
            file.write_all(b"z").expect("it can be written");
        }
        _ => panic!("`{word}` is no word"),
    }
    let _ = std::io::stdout().flush();
}

/// Writes one line, without its end.
fn long(to: &mut dyn Write, mut left: usize) {
    let part = [b'y'; 8_192];
    while left > 0 {
        let length = left.min(part.len());
        to.write_all(&part[..length]).expect("it can be written");
        left -= length;
    }
    to.flush().expect("it can be written");
}
