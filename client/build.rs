//! Generates the gRPC stubs of etcd's services; the messages are those of `ferrite-proto`.
//!
//! Two files come out: the client stubs that the library uses, and server stubs that only its tests include, for the
//! server they play against.

use std::path::PathBuf;

const PROTO: &str = "../proto/proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    for (folder, server) in [("client", false), ("server", true)] {
        let folder = out.join(folder);
        std::fs::create_dir_all(&folder)?;
        let mut stubs = tonic_prost_build::configure()
            .build_client(!server)
            .build_server(server)
            .build_transport(false)
            .generate_default_stubs(server)
            .out_dir(&folder);
        for package in ["authpb", "etcdserverpb", "membershippb", "mvccpb"] {
            stubs = stubs.extern_path(format!(".{package}"), format!("::ferrite_proto::{package}"));
        }
        stubs.compile_fds(protox::compile(["etcdserver.proto"], [PROTO])?)?;
    }
    Ok(())
}
