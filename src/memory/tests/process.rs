//! Writers in processes of their own: killed by the operating system, or stopped by its limits.
#![cfg(unix)]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;

const FOLDER: &str = "GLIMMER_TEST_STORE";
const PASSAGES: usize = 300;

fn large(n: usize) -> Vec<f32> {
    rows(n).iter().copied().cycle().take(64 * WIDTH).collect()
}

/// What a child does: builds until it is stopped. Without a parent, who names the folder, there is nothing to do.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let spec = Spec { shard_bytes: 8192, ..spec(Format::Bf16) };
    let mut builder = match Builder::open_or_resume(&folder, spec) {
        Ok(builder) => builder,
        Err(error) => return eprintln!("child: {error:#}"),
    };
    for n in 0..PASSAGES {
        if builder.contains(&id(n)) {
            continue;
        }
        let added = builder.add(&id(n), &large(n)).and_then(|()| match n % 4 {
            3 => builder.commit(),
            _ => Ok(()),
        });
        if let Err(error) = added {
            return eprintln!("child: {error:#}");
        }
    }
    builder.finish().unwrap();
    eprintln!("child: finished");
}

/// A child that `prelude`, a line of shell, prepares.
fn spawn(folder: &Path, prelude: &str) -> Child {
    Command::new("sh")
        .arg("-c")
        .arg(format!(r#"{prelude} exec "$0" --exact --nocapture memory::tests::process::child"#))
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a child that ran to its end said.
fn said(child: Child) -> String {
    String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr).into_owned()
}

fn assert_complete(folder: &Path) {
    let found = contents(folder);
    let mut bytes = Vec::new();
    assert_eq!(found.len(), PASSAGES);
    for n in 0..PASSAGES {
        crate::memory::rows::encode(&large(n), WIDTH, Format::Bf16, &mut bytes).unwrap();
        assert_eq!(found[&id(n)], bytes);
    }
}

#[test]
fn a_writer_killed_again_and_again_comes_to_its_end() {
    let folder = new_folder();
    for life in 0..12 {
        let mut child = spawn(folder.path(), "");
        std::thread::sleep(Duration::from_millis(5 + 7 * life));
        child.kill().unwrap(); // SIGKILL: also the lock is left to the system
        child.wait().unwrap();
    }
    let last = said(spawn(folder.path(), ""));
    assert!(last.contains("child: finished"), "{last}");
    assert_complete(folder.path());
}

#[test]
fn a_writer_in_another_process_holds_the_lock() {
    let folder = new_folder();
    let _builder = Builder::create(folder.path(), spec(Format::Bf16)).unwrap();
    let other = said(spawn(folder.path(), ""));
    assert!(other.contains("another writer is at work"), "{other}");
}

#[test]
fn a_writer_that_may_write_no_more_says_so_and_the_build_resumes() {
    let folder = new_folder();
    // 9 blocks of 512 bytes (in some shells 1024) a file; the signal ignored, writes fail, as on a full disk.
    let stopped = said(spawn(folder.path(), "trap '' XFSZ; ulimit -f 7;"));
    assert!(stopped.contains("child: cannot write") && stopped.contains("once there is room"), "{stopped}");
    // With the signal, the system kills the writer in the middle of that write.
    let killed = spawn(folder.path(), "ulimit -f 11;").wait_with_output().unwrap();
    assert!(!killed.status.success());
    let last = said(spawn(folder.path(), ""));
    assert!(last.contains("child: finished"), "{last}");
    assert_complete(folder.path());
}
