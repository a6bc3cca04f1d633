//! `completion`: scripts for shells.

use crate::command::{Command, Group, Invocation, completion};
use crate::exit::{self, Exit};

pub static COMMAND: Command = Command {
    usage: "completion [bash|zsh|fish|powershell]",
    short: "Generate completion script",
    long: "\
To load completions:

Bash:
  $ source <(etcdctl completion bash)
  # To load completions for each session, execute once:
  $ etcdctl completion bash > /etc/bash_completion.d/etcdctl

Zsh:
  $ etcdctl completion zsh > \"${fpath[1]}/_etcdctl\"

Fish:
  $ etcdctl completion fish > ~/.config/fish/completions/etcdctl.fish

PowerShell:
  PS> etcdctl completion powershell | Out-String | Invoke-Expression",
    group: Group::Utility,
    one_of: completion::SHELLS,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(call: Invocation) -> Result<(), Exit> {
    exit::print(completion::script(call.path[0].name(), &call.args()[0]).as_bytes())
}
