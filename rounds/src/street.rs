//! A network of namespaces: one for each member, all joined by a bridge in one more, where clients live.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{AnyError, MEMBERS};

/// The namespaces. They go when this is dropped.
#[derive(Debug)]
pub(crate) struct Street {
    /// What all names begin with.
    name: String,
}

/// The address of a member.
pub(crate) fn address(member: usize) -> String {
    format!("10.0.0.{}", member + 1)
}

/// Where nobody lives: what is sent there is lost, and its sender is not told.
const NOWHERE: &str = "02:00:00:00:00:01";

impl Street {
    pub fn build() -> Result<Street, AnyError> {
        let street = Street { name: format!("rounds{}", std::process::id()) };
        let hub = street.hub();
        ip(&["netns", "add", &hub])?;
        for command in
            ["link set lo up", "link add br0 type bridge", "addr add 10.0.0.254/24 dev br0", "link set br0 up"]
        {
            street.in_hub(command)?;
        }
        for member in 0..MEMBERS {
            let (space, port) = (street.space(member), format!("port{member}"));
            ip(&["netns", "add", &space])?;
            ip(&["link", "add", &port, "netns", &hub, "type", "veth", "peer", "name", "eth0", "netns", &space])?;
            street.in_hub(&format!("link set {port} master br0 up"))?;
            for command in ["link set lo up", &format!("addr add {}/24 dev eth0", address(member)), "link set eth0 up"]
            {
                street.at(member, command)?;
            }
        }
        Ok(street)
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    /// The namespace of a member.
    pub fn space(&self, member: usize) -> String {
        format!("{}-{member}", self.name)
    }

    /// What this thread does from now on, and what it starts, is done where the clients live.
    pub fn move_in(&self) -> Result<(), AnyError> {
        let space = File::open(format!("/var/run/netns/{}", self.hub()))?;
        Ok(move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// From now on what `from` sends to `to` is lost.
    pub fn cut(&self, from: usize, to: usize) -> Result<(), AnyError> {
        self.at(from, &format!("neigh replace {} lladdr {NOWHERE} dev eth0 nud permanent", address(to)))
    }

    /// It is lost no more.
    pub fn mend(&self, from: usize, to: usize) -> Result<(), AnyError> {
        self.at(from, &format!("neigh del {} dev eth0", address(to)))
    }

    fn in_hub(&self, command: &str) -> Result<(), AnyError> {
        let hub = self.hub();
        ip(&[&["-n", &hub], &words(command)[..]].concat())
    }

    fn at(&self, member: usize, command: &str) -> Result<(), AnyError> {
        let space = self.space(member);
        ip(&[&["-n", &space], &words(command)[..]].concat())
    }
}

impl Drop for Street {
    fn drop(&mut self) {
        let spaces = (0..MEMBERS).map(|member| self.space(member)).chain([self.hub()]);
        for space in spaces {
            // One that was not made yet cannot be taken away.
            let _ = Command::new("ip").args(["netns", "del", &space]).output();
        }
    }
}

fn words(command: &str) -> Vec<&str> {
    command.split(' ').collect()
}

fn ip(arguments: &[&str]) -> Result<(), AnyError> {
    let done = Command::new("ip").args(arguments).output()?;
    match done.status.success() {
        true => Ok(()),
        false => Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&done.stderr).trim()).into()),
    }
}
