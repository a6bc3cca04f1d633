//! The client against a server in this process that does what each test says.

mod calls;
mod fake;
mod watch;
