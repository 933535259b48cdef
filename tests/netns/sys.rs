//! TAP devices and network namespaces as the kernel and `ip` see them.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{self, Command};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use tapwire::sys::{NetNs, Tap, TapOptions, has_net_admin};
use tapwire::{Error, IfIndex, IfName, Mac};

use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip"]:
        create_refuses_a_name_that_is_taken_and_names_the_holder,
        create_refuses_a_persistent_device_that_nobody_holds,
        device_is_as_it_was_asked_to_be,
        device_without_further_words_is_plain,
        only_a_persistent_device_outlives_its_descriptor,
        failed_create_leaves_no_device,
        attach_makes_nothing,
        attach_makes_nothing_while_the_device_comes_and_goes,
        attach_takes_a_device_that_nobody_holds,
        attach_names_what_does_not_fit_and_changes_nothing,
        queues_of_one_device_agree,
        queue_is_added_where_the_device_is,
        queue_of_a_single_queue_device_is_refused,
        index_and_mtu_are_those_where_the_device_is_now,
        mac_changes_on_the_descriptor,
        carrier_is_off_until_it_is_plugged_in,
        descriptor_goes_from_hand_to_hand,
        descriptor_that_is_attached_to_nothing_is_refused,
        deleted_device_is_told,
        host_answers_a_frame_that_the_guest_sends,
        work_in_a_namespace_leaves_the_caller_where_it_was,
        namespace_is_current_for_the_threads_in_it,
    ]
}

fn create_refuses_a_name_that_is_taken_and_names_the_holder() {
    let _first = tap("tap0").create().unwrap();
    let error = tap("tap0").create().unwrap_err();
    assert!(error.is_busy(), "{error:?}");
    let text = format!(
        "ioctl TUNSETIFF tap0 (exists already, held by pid {} (",
        process::id()
    );
    assert!(error.to_string().starts_with(&text), "{error}");
}

fn create_refuses_a_persistent_device_that_nobody_holds() {
    drop(tap("tap0").persistent().create().unwrap());
    let error = tap("tap0").create().unwrap_err();
    assert!(error.is_busy(), "{error:?}");
    let text = "ioctl TUNSETIFF tap0 (exists already)";
    // Tests beside this one hold devices of that name elsewhere.
    let guess = "ioctl TUNSETIFF tap0 (exists already, ";
    let shown = error.to_string();
    assert!(shown == text || shown.starts_with(guess), "{shown}");
}

fn device_is_as_it_was_asked_to_be() {
    let index = IfIndex::new(4242).unwrap();
    let tap = tap("riklet-0123456x")
        .mac(mac("02:74:77:00:00:01"))
        .mtu(9000)
        .index(index)
        .vnet_header()
        .owner(0)
        .group(0)
        .persistent()
        .create()
        .unwrap();
    assert_eq!(tap.index().unwrap(), index);
    assert_eq!(tap.name().as_str(), "riklet-0123456x");
    assert!(tap.has_vnet_header().unwrap());
    assert!(tap.is_persistent().unwrap());
    let shown = ip("-d link show riklet-0123456x").unwrap();
    for wanted in [
        "4242: riklet-0123456x:",
        "mtu 9000",
        "link/ether 02:74:77:00:00:01",
        "tun type tap pi off vnet_hdr on persist on user root group root",
    ] {
        assert!(shown.contains(wanted), "no {wanted:?} in {shown}");
    }
}

fn device_without_further_words_is_plain() {
    let tap = tap("tap0").create().unwrap();
    assert!(!tap.has_vnet_header().unwrap());
    assert!(!tap.is_persistent().unwrap());
    let shown = ip("-d link show tap0").unwrap();
    let wanted = "tun type tap pi off vnet_hdr off persist off";
    assert!(shown.contains(wanted), "{shown}");
}

fn only_a_persistent_device_outlives_its_descriptor() {
    drop(tap("goes").create().unwrap());
    drop(tap("stays").persistent().create().unwrap());
    let stopped = tap("stopped").persistent().create().unwrap();
    stopped.set_persistent(false).unwrap();
    drop(stopped);
    assert_links(&["lo", "stays"]);
}

fn failed_create_leaves_no_device() {
    let error = tap("tap0").persistent().mtu(70_000).create().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(22), "{error:?}");
    assert_eq!(error.to_string(), "ioctl SIOCSIFMTU tap0 70000");
    let error = tap("tap0").mtu(u32::MAX).create().unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    let other = tap("other").create().unwrap();
    let index = other.index().unwrap();
    let error = tap("tap0").index(index).create().unwrap_err();
    assert!(error.is_busy(), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!("ioctl TUNSETIFF tap0 (another interface has the index {index})")
    );
    assert_links(&["lo", "other"]);
}

fn attach_makes_nothing() {
    let error = tap("tap0").attach().unwrap_err();
    assert!(matches!(error, Error::Absent { .. }), "{error:?}");
    assert_eq!(error.to_string(), "no TAP device named tap0");
    assert_links(&["lo"]);
}

fn attach_makes_nothing_while_the_device_comes_and_goes() {
    let netns = NetNs::current().unwrap();
    thread::scope(|scope| {
        let maker = scope.spawn(|| {
            netns.run(|| {
                for _ in 0..50 {
                    if let Err(error) = tap("comes").create() {
                        assert!(error.is_busy(), "{error:?}");
                    }
                }
            })
        });
        while !maker.is_finished() {
            // The one who made it holds its only queue until it goes.
            let error = tap("comes").attach().unwrap_err();
            assert!(error.is_busy() || error.is_not_found(), "{error:?}");
        }
        maker.join().unwrap().unwrap();
    });
    assert_links(&["lo"]);
}

fn attach_takes_a_device_that_nobody_holds() {
    let first = tap("tap0").persistent().create().unwrap();
    let index = first.index().unwrap();
    let error = tap("tap0").attach().unwrap_err();
    assert!(error.is_busy(), "{error:?}");
    let text = format!("ioctl TUNSETIFF tap0 (held by pid {} (", process::id());
    assert!(error.to_string().starts_with(&text), "{error}");
    drop(first);
    let again = tap("tap0").vnet_header().owner(0).attach().unwrap();
    assert_eq!(again.index().unwrap(), index);
    assert!(again.has_vnet_header().unwrap());
    let shown = ip("-d link show tap0").unwrap();
    assert!(
        shown.contains("vnet_hdr on persist on user root"),
        "{shown}"
    );
}

fn attach_names_what_does_not_fit_and_changes_nothing() {
    ip("tuntap add dev many mode tap multi_queue vnet_hdr").unwrap();
    ip("tuntap add dev one mode tap vnet_hdr").unwrap();
    ip("tuntap add dev tun mode tun").unwrap();
    ip("link add bridge type bridge").unwrap();
    ip("link set one mtu 1400 address 02:00:00:00:00:07").unwrap();
    let before = ip("-d link show").unwrap();
    let many_queues = "multi_queue (IFF_MULTI_QUEUE)";
    for (options, wanted, found) in [
        (tap("many"), "one queue", many_queues),
        (tap("one").multi_queue(), many_queues, "one queue"),
        (tap("tun"), "IFF_TAP", "a TUN device"),
        (tap("bridge"), "TAP device bridge", "the driver bridge"),
        (tap("lo"), "TAP device lo", "without a driver"),
        (tap("one").mtu(1500), "MTU 1500", "MTU 1400"),
        (tap("one").mac(mac("02:00:00:00:00:08")), ":08", ":07"),
        (
            tap("one").index(IfIndex::new(9999).unwrap()),
            "9999",
            "index",
        ),
    ] {
        let error = options.attach().unwrap_err();
        let Error::Conflict(conflict) = &error else {
            panic!("{error:?}");
        };
        assert!(conflict.wanted().contains(wanted), "{error}");
        assert!(conflict.holder().contains(found), "{error}");
    }
    assert_eq!(ip("-d link show").unwrap(), before);
}

fn queues_of_one_device_agree() {
    let first = tap("tap0").multi_queue().vnet_header().create().unwrap();
    let error = tap("tap0").multi_queue().attach().unwrap_err();
    assert_eq!(
        error.to_string(),
        "TAP device tap0 with no vnet header clashes with other queues with a vnet header"
    );
    let persistent = tap("tap0").multi_queue().vnet_header().persistent();
    let error = persistent.attach().unwrap_err();
    assert!(error.to_string().contains("not persistent"), "{error}");
    assert!(first.has_vnet_header().unwrap());
    let second = tap("tap0").multi_queue().vnet_header().attach().unwrap();
    assert_eq!(second.index().unwrap(), first.index().unwrap());
}

fn queue_is_added_where_the_device_is() {
    let other = NetNs::new().unwrap();
    let options = tap("tap0").multi_queue().vnet_header().nonblocking();
    let first = other.run(|| options.create()).unwrap().unwrap();
    other.run(|| ip("link set tap0 up")).unwrap().unwrap();
    first.set_carrier(false).unwrap();
    let second = first.queue().unwrap();
    assert_eq!(second.name(), first.name());
    assert_eq!(second.index().unwrap(), first.index().unwrap());
    assert!(second.has_vnet_header().unwrap());
    // The kernel may have announced itself there.
    let mut received = (0..100).map(|_| second.receive(&mut [0; 2000]));
    let kind = received.find_map(Result::err).unwrap().kind();
    assert_eq!(kind, ErrorKind::WouldBlock);
    assert!(is_close_on_exec(&second));
    assert!(other.run(|| comes_to_show("NO-CARRIER")).unwrap());
    drop(first);
    assert!(second.index().is_ok(), "went with its first queue");
    assert_links(&["lo"]);
}

fn queue_of_a_single_queue_device_is_refused() {
    let single = tap("tap0").create().unwrap();
    let error = single.queue().unwrap_err();
    assert!(error.to_string().contains("IFF_MULTI_QUEUE"), "{error}");
}

fn index_and_mtu_are_those_where_the_device_is_now() {
    let other = NetNs::new().unwrap();
    // Here `tap0` is another device than there.
    let with_index = |index| tap("tap0").index(IfIndex::new(index).unwrap());
    let here = with_index(70).create().unwrap();
    let there = other.run(|| with_index(71).create()).unwrap().unwrap();
    assert_eq!(there.index().unwrap().get(), 71);
    assert_eq!(here.index().unwrap().get(), 70);
    there.set_mtu(1400).unwrap();
    let shown = ip("link show tap0").unwrap();
    assert!(shown.contains("mtu 1500"), "{shown}");
    let shown = other.run(|| ip("link show tap0")).unwrap().unwrap();
    assert!(shown.contains("mtu 1400"), "{shown}");
    let place = there.namespace().unwrap();
    assert_eq!(place.id().unwrap(), other.id().unwrap());
    ip("link set tap0 name renamed").unwrap();
    assert_eq!(here.index().unwrap().get(), 70);
}

fn mac_changes_on_the_descriptor() {
    let tap = tap("tap0").create().unwrap();
    tap.set_mac(mac("02:00:00:00:00:99")).unwrap();
    let shown = ip("link show tap0").unwrap();
    assert!(shown.contains("02:00:00:00:00:99"), "{shown}");
}

fn carrier_is_off_until_it_is_plugged_in() {
    let tap = tap("tap0").no_carrier().create().unwrap();
    ip("link set tap0 up").unwrap();
    assert!(comes_to_show("NO-CARRIER"));
    tap.set_carrier(true).unwrap();
    assert!(comes_to_show("LOWER_UP"));
    tap.set_carrier(false).unwrap();
    assert!(comes_to_show("NO-CARRIER"));
}

fn descriptor_goes_from_hand_to_hand() {
    let tap = tap("tap0").create().unwrap();
    assert!(is_close_on_exec(&tap));
    let index = tap.index().unwrap();
    let fd = OwnedFd::from(tap);
    let tap = Tap::from_fd(fd).unwrap();
    assert_eq!(tap.name().as_str(), "tap0");
    assert_eq!(tap.index().unwrap(), index);
    let copy = tap.as_fd().try_clone_to_owned().unwrap();
    drop(tap);
    assert_eq!(Tap::from_fd(copy).unwrap().index().unwrap(), index);
}

fn descriptor_that_is_attached_to_nothing_is_refused() {
    let file = File::options().read(true).write(true).open("/dev/net/tun");
    let error = Tap::from_fd(file.unwrap().into()).unwrap_err();
    let text = "is of /dev/net/tun, but attached to no device";
    assert!(error.to_string().ends_with(text), "{error}");
}

fn deleted_device_is_told() {
    let tap = tap("tap0").create().unwrap();
    ip("link del tap0").unwrap();
    let ebadfd = Some(77);
    assert_eq!(tap.index().unwrap_err().raw_os_error(), ebadfd);
    assert_eq!(tap.set_carrier(true).unwrap_err().raw_os_error(), ebadfd);
    let error = tap.receive(&mut [0; 64]).unwrap_err();
    assert_eq!(error.raw_os_error(), ebadfd);
}

fn host_answers_a_frame_that_the_guest_sends() {
    let mac = mac("02:74:77:00:00:01");
    let tap = tap("tap0").mac(mac).create().unwrap();
    ip("addr add 10.0.0.1/24 dev tap0").unwrap();
    ip("link set tap0 up").unwrap();
    assert_eq!(tap.send(&arp_request()).unwrap(), 42);
    let mut frame = [0; 2000];
    // The host may have announcements of its own to make first.
    let length = loop {
        let length = tap.receive(&mut frame).unwrap();
        if frame[12..14] == [8, 6] && frame[20..22] == [0, 2] {
            break length;
        }
    };
    assert_eq!(length, 42);
    assert_eq!(frame[22..28], mac.octets());
    assert_eq!(frame[28..32], [10, 0, 0, 1]);
}

fn namespace_is_current_for_the_threads_in_it() {
    let (here, other) = (NetNs::current().unwrap(), NetNs::new().unwrap());
    assert!(here.is_current().unwrap());
    assert!(!other.is_current().unwrap());
    other
        .run(|| {
            assert!(other.is_current().unwrap());
            assert!(!here.is_current().unwrap());
            let by_path = NetNs::open("/proc/thread-self/ns/net").unwrap();
            assert!(by_path.is_current().unwrap());
        })
        .unwrap();
}

fn work_in_a_namespace_leaves_the_caller_where_it_was() {
    let here = || NetNs::current().unwrap().id().unwrap();
    let before = here();
    let netns = NetNs::new().unwrap();
    assert_ne!(netns.id().unwrap(), before);
    assert!(!netns.is_current().unwrap());
    let inside = netns.run(|| netns.is_current().unwrap() && has_net_admin().unwrap());
    assert!(inside.unwrap());
    assert_eq!(here(), before);
    let panicked = thread::scope(|scope| {
        let caller = scope.spawn(|| netns.run(|| std::panic::panic_any(7)));
        caller.join().unwrap_err()
    });
    assert_eq!(panicked.downcast_ref(), Some(&7));
    let process = NetNs::of_pid(process::id()).unwrap().id().unwrap();
    assert_ne!(process, netns.id().unwrap());
}

fn tap(name: &str) -> TapOptions {
    TapOptions::new(name.parse::<IfName>().unwrap())
}

fn mac(text: &str) -> Mac {
    text.parse().unwrap()
}

/// Runs `ip` in the thread's network namespace; what it said if it failed.
fn ip(arguments: &str) -> Result<String, String> {
    let words = arguments.split_whitespace();
    let output = Command::new("ip").args(words).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

/// Whether `ip` comes to show this of `tap0`; not at once, since older
/// kernels note a change of the carrier from a work queue.
fn comes_to_show(what: &str) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        if ip("link show tap0").unwrap().contains(what) {
            return true;
        }
        thread::sleep(Duration::from_millis(5));
    }
    false
}

/// Waits until these are the interfaces of the thread's network namespace.
///
/// Not at once, since a process that a test beside this one has just forked
/// keeps copies of our descriptors until it becomes another program.
fn assert_links(wanted: &[&str]) {
    let start = Instant::now();
    while links() != wanted && start.elapsed() < Duration::from_secs(2) {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(links(), wanted);
}

/// The names of all interfaces of the thread's network namespace, sorted.
fn links() -> Vec<String> {
    let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let names = table.lines().filter_map(|line| line.split_once(':'));
    let mut names: Vec<_> = names.map(|(name, _)| name.trim().to_owned()).collect();
    names.sort();
    names
}

fn is_close_on_exec(fd: &impl AsFd) -> bool {
    let number = fd.as_fd().as_raw_fd();
    let info = fs::read_to_string(format!("/proc/thread-self/fdinfo/{number}")).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = u32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
    flags & 0o2_000_000 != 0
}

/// Who has 10.0.0.1? Tell 10.0.0.2 at 02:00:00:00:00:02.
fn arp_request() -> Vec<u8> {
    let guest = [2, 0, 0, 0, 0, 2];
    let mut frame = vec![0xff; 6];
    frame.extend(guest);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(guest);
    frame.extend([10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
    frame
}
