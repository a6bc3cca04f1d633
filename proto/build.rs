//! Generates Rust types from the .proto files with a compiler written in Rust: nothing has to be installed.

use std::fmt::Write as _;
use std::path::Path;

use protox::prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use protox::prost_reflect::prost_types::{FieldDescriptorProto, FileDescriptorSet};

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
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("shapes.rs"), shapes(&descriptors)?)?;
    prost_build::Config::new().bytes(["."]).enable_type_names().compile_fds(descriptors)?;
    Ok(())
}

/// The tables behind `wire::decode`: for each message, which fields it has and how they are written.
fn shapes(descriptors: &FileDescriptorSet) -> Result<String, Box<dyn std::error::Error>> {
    let mut code = String::from(
        "/// One shape for each message, named as in its .proto file.\n\
         #[allow(non_upper_case_globals, missing_docs)]\npub mod shapes {\n    use super::{Kind, Shape};\n",
    );
    let mut names = Vec::new();
    for file in &descriptors.file {
        let mut waiting: Vec<_> =
            file.message_type.iter().map(|m| (format!("{}.{}", file.package(), m.name()), m)).collect();
        while let Some((name, message)) = waiting.pop() {
            let mut fields: Vec<_> = message.field.iter().collect();
            fields.sort_by_key(|field| field.number());
            let fields: Vec<_> = fields.into_iter().map(|f| format!("({}, {})", f.number(), kind(f))).collect();
            writeln!(
                code,
                "    pub static {}: Shape = Shape {{ name: {name:?}, fields: &[{}] }};",
                ident(&name),
                fields.join(", ")
            )?;
            names.push(name.clone());
            waiting.extend(message.nested_type.iter().map(|inner| (format!("{name}.{}", inner.name()), inner)));
        }
    }
    code.push_str("\n    pub(super) static ALL: &[&Shape] = &[\n");
    names.sort();
    for name in &names {
        writeln!(code, "        &{},", ident(name))?;
    }
    code.push_str("    ];\n}\n");
    Ok(code)
}

fn ident(name: &str) -> String {
    name.trim_start_matches('.').replace('.', "_")
}

fn kind(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message => format!("Kind::Message(&{})", ident(field.type_name())),
        Type::Bytes | Type::String => "Kind::Bytes".into(),
        Type::Double | Type::Fixed64 | Type::Sfixed64 => "Kind::Fixed64".into(),
        Type::Float | Type::Fixed32 | Type::Sfixed32 => "Kind::Fixed32".into(),
        Type::Group => panic!("{} is a group", field.name()),
        _ if field.label() == Label::Repeated => "Kind::Varints".into(),
        _ => "Kind::Varint".into(),
    }
}
