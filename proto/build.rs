//! Generates Rust types from the .proto files with a compiler written in Rust: nothing has to be installed.

const FILES: &[&str] = &[
    "auth.proto",
    "etcdserver.proto",
    "health.proto",
    "lease.proto",
    "membership.proto",
    "metadata.proto",
    "mvcc.proto",
    "raft.proto",
    "snap.proto",
    "v3election.proto",
    "v3lock.proto",
    "wal.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
