//! The kernel's virtio back end, where there is one.

use std::os::fd::OwnedFd;
use std::path::Path;

use libtest_mimic::Trial;
use tapwire::Error;
use tapwire::passthrough::VhostNet;

use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![vhost_net_is_opened_or_said_to_be_missing]
}

fn vhost_net_is_opened_or_said_to_be_missing() {
    match VhostNet::open() {
        Ok(vhost) => {
            let file = std::fs::File::from(OwnedFd::from(vhost));
            assert!(!file.metadata().unwrap().is_file());
        }
        Err(Error::Unsupported { feature }) => {
            assert!(feature.contains("vhost_net"), "{feature}");
            assert!(!Path::new("/dev/vhost-net").exists());
        }
        Err(other) => panic!("{other}"),
    }
}
