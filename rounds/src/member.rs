//! A member: a process in a namespace of its own, in a group whose disk can be made slow.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::street::{Street, address};
use crate::{AnyError, MEMBERS};

/// Writes a second that a slow disk does: a sync takes a tenth of a second and more.
const SLOW_WRITES: u32 = 20;

/// A member's process, and all that is needed to start it again.
#[derive(Debug)]
pub(crate) struct Member {
    process: Child,
    /// Ended by us, and not started again.
    is_killed: bool,
    command: Vec<String>,
    log: PathBuf,
    /// Its group of the block I/O controller.
    group: PathBuf,
    /// The disk its data is on, as the controller names it.
    disk: String,
}

/// Where a member serves clients.
pub(crate) fn endpoint(member: usize) -> String {
    format!("{}:2379", address(member))
}

impl Member {
    /// Starts a member of a new cluster on an empty directory.
    pub fn start(street: &Street, number: usize, binary: &Path, dir: &Path) -> Result<Member, AnyError> {
        let dir = dir.join(format!("member{number}"));
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        fs::create_dir_all(&dir)?;
        let device = fs::metadata(&dir)?.dev();
        let disk = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        let group = PathBuf::from(format!("/sys/fs/cgroup/blkio/{}", street.space(number)));
        fs::create_dir_all(&group).map_err(|error| {
            format!("{}: {error}: slow disks need the block I/O controller of cgroups v1", group.display())
        })?;
        let peer = |member| format!("http://{}:2380", address(member));
        let all: Vec<String> = (0..MEMBERS).map(|member| format!("member{member}={}", peer(member))).collect();
        let client = format!("http://{}", endpoint(number));
        let binary = binary.canonicalize().map_err(|error| format!("{}: {error}", binary.display()))?;
        let command = vec![
            "netns".to_owned(),
            "exec".to_owned(),
            street.space(number),
            binary.display().to_string(),
            format!("--name=member{number}"),
            format!("--data-dir={}", dir.join("data").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={}", peer(number)),
            format!("--initial-advertise-peer-urls={}", peer(number)),
            format!("--initial-cluster={}", all.join(",")),
        ];
        let log = dir.join("log");
        let process = spawn(&command, &log, &group)?;
        Ok(Member { process, is_killed: false, command, log, group, disk })
    }

    /// Ends it at once, whatever it is doing. An error if it had ended by itself, which a start would hide.
    pub fn kill(&mut self) -> Result<(), AnyError> {
        let status = kill(&mut self.process)?;
        match status.signal() == Some(Signal::KILL.as_raw()) {
            true => {
                self.is_killed = true;
                Ok(())
            }
            false => Err(self.ended(status)),
        }
    }

    /// An error if it has ended by itself.
    pub fn still_runs(&mut self) -> Result<(), AnyError> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(_) if self.is_killed => Ok(()),
            Some(status) => Err(self.ended(status)),
        }
    }

    fn ended(&self, status: ExitStatus) -> AnyError {
        format!("a member has ended by itself ({status}); it says why in {}", self.log.display()).into()
    }

    /// Starts it again on what it has.
    pub fn restart(&mut self) -> Result<(), AnyError> {
        self.process = spawn(&self.command, &self.log, &self.group)?;
        self.is_killed = false;
        Ok(())
    }

    /// It stands still, and does not know.
    pub fn pause(&self) -> Result<(), AnyError> {
        Ok(kill_process(Pid::from_child(&self.process), Signal::STOP)?)
    }

    pub fn go_on(&self) -> Result<(), AnyError> {
        Ok(kill_process(Pid::from_child(&self.process), Signal::CONT)?)
    }

    /// Its disk does `SLOW_WRITES` a second, or as many as it can.
    pub fn slow_disk(&self, slow: bool) -> Result<(), AnyError> {
        let writes = if slow { SLOW_WRITES } else { 0 };
        let limit = self.group.join("blkio.throttle.write_iops_device");
        Ok(fs::write(limit, format!("{} {writes}", self.disk))?)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // One that stands still ends by this, too.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir(&self.group);
    }
}

/// Says how it ended: by this, or by itself before.
fn kill(process: &mut Child) -> io::Result<ExitStatus> {
    process.kill()?;
    process.wait()
}

fn spawn(command: &[String], log: &Path, group: &Path) -> Result<Child, AnyError> {
    let log = File::options().create(true).append(true).open(log)?;
    let process = Command::new("ip").args(command).stdout(Stdio::null()).stderr(log).spawn()?;
    fs::write(group.join("cgroup.procs"), process.id().to_string())?;
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(command: &[&str]) -> Member {
        let process = Command::new(command[0]).args(&command[1..]).spawn().unwrap();
        Member {
            process,
            is_killed: false,
            command: Vec::new(),
            log: PathBuf::new(),
            group: PathBuf::new(),
            disk: String::new(),
        }
    }

    #[test]
    fn a_member_that_ends_by_itself_is_found() {
        let mut running = member(&["sleep", "1000"]);
        running.still_runs().unwrap();
        running.kill().unwrap();
        // Another one of those to be killed may be found to have ended by itself.
        running.still_runs().unwrap();
        let mut ended = member(&["sh", "-c", "exit 3"]);
        ended.process.wait().unwrap();
        assert!(ended.still_runs().is_err());
        assert!(ended.kill().is_err());
    }
}
