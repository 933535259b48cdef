//! The virtual functions of a card, as PCI has them: `sysfs`,
//! `Documentation/ABI/testing/sysfs-bus-pci` of the kernel.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Invalid};
use crate::sys::in_own_sysfs;
use crate::types::IfName;

/// The virtual functions of a network card that does SR-IOV, by number.
///
/// A VMM is handed one by its PCI address (VFIO). What the card is to do with
/// its frames is set by [`Changes::set_vf`](crate::route::Changes::set_vf).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualFunctions {
    device: PathBuf,
    total: u32,
    list: Vec<PciAddress>,
}

impl VirtualFunctions {
    /// Reads those of the card whose physical function is this interface of
    /// the calling thread's network namespace. What is mounted on `/sys` may be
    /// another's: they are read from a `sysfs` that nobody else sees.
    ///
    /// # Errors
    /// [`Error::Absent`] if there is no such interface, [`Error::Invalid`] if
    /// it is not a physical function that can have virtual ones;
    /// [`Error::System`] if it cannot be read (`EPERM` without
    /// `CAP_SYS_ADMIN`).
    pub fn of(physical: IfName) -> Result<Self, Error> {
        in_own_sysfs(|| Self::read(Path::new("/sys"), physical))
    }

    fn read(sys: &Path, physical: IfName) -> Result<Self, Error> {
        let interface = sys.join("class/net").join(physical.as_str());
        if !interface.exists() {
            return Err(Error::Absent {
                kind: "interface",
                name: physical.as_str().into(),
            });
        }
        let device = interface.join("device");
        let total = fs::read_to_string(device.join("sriov_totalvfs")).ok();
        let Some(total) = total.and_then(|text| text.trim().parse().ok()) else {
            let why = "is no physical function of a card with SR-IOV";
            return Err(Invalid::new("interface", physical, why).into());
        };
        let mut list = Vec::new();
        for number in 0..total {
            let link = device.join(format!("virtfn{number}"));
            let Ok(target) = fs::read_link(&link) else {
                break;
            };
            let name = target.file_name().unwrap_or_default().to_string_lossy();
            list.push(name.parse()?);
        }
        // The card's own folder, which each `sysfs` has.
        let device = fs::canonicalize(&device)
            .map_err(|source| Error::system("resolve", device.display(), source))?;
        Ok(Self {
            device,
            total,
            list,
        })
    }

    /// How many the card can have.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// The PCI addresses of those that are there, by number.
    pub fn addresses(&self) -> &[PciAddress] {
        &self.list
    }

    /// The IOMMU group of one, whose file is `/dev/vfio/N`; `None` if the host
    /// has no IOMMU, or there is no such function.
    pub fn iommu_group(&self, number: u32) -> Option<u32> {
        self.name_behind(number, "iommu_group")?.parse().ok()
    }

    /// The driver that one is bound to: `vfio-pci` for a VMM, or the card's
    /// own; `None` if there is none.
    pub fn driver(&self, number: u32) -> Option<String> {
        self.name_behind(number, "driver")
    }

    fn name_behind(&self, number: u32, link: &str) -> Option<String> {
        let link = self.device.join(format!("virtfn{number}")).join(link);
        let target = fs::read_link(link).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }
}

/// Where a device is on PCI: `0000:03:10.2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PciAddress {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

impl FromStr for PciAddress {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("PCI address", text, "is not like 0000:03:10.2");
        let parsed = || {
            let (domain, rest) = text.split_once(':')?;
            let (bus, rest) = rest.split_once(':')?;
            let (device, function) = rest.split_once('.')?;
            let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if ![domain, bus, device, function].into_iter().all(plain) {
                return None;
            }
            let small = |text: &str, limit: u8| {
                let number = u8::from_str_radix(text, 16).ok();
                number.filter(|&number| number <= limit)
            };
            Some(Self {
                domain: u32::from_str_radix(domain, 16).ok()?,
                bus: small(bus, u8::MAX)?,
                device: small(device, 31)?,
                function: small(function, 7)?,
            })
        };
        parsed().ok_or_else(invalid)
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domain,
            bus,
            device,
            function,
        } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in ["0000:03:10.2", "10000:ff:1f.7"] {
            assert_eq!(text.parse::<PciAddress>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "03:10.2",
            "0000:03:20.0",
            "0000:03:10.8",
            "0000:+3:10.0",
            "0:1:2:3",
        ] {
            assert!(text.parse::<PciAddress>().is_err(), "{text}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads files")]
    fn functions_are_found_by_number() {
        let sys = std::env::temp_dir().join(format!("tapwire-sys-{}", std::process::id()));
        let net = sys.join("class/net");
        let pci = sys.join("devices/pci0000:00");
        for folder in ["0000:03:00.0", "0000:03:10.0", "0000:03:10.2"] {
            fs::create_dir_all(pci.join(folder)).unwrap();
        }
        fs::create_dir_all(net.join("pf")).unwrap();
        fs::create_dir_all(net.join("lo")).unwrap();
        symlink(pci.join("0000:03:00.0"), net.join("pf/device")).unwrap();
        fs::write(pci.join("0000:03:00.0/sriov_totalvfs"), "63\n").unwrap();
        for (number, address) in ["0000:03:10.0", "0000:03:10.2"].iter().enumerate() {
            let link = pci.join(format!("0000:03:00.0/virtfn{number}"));
            symlink(format!("../{address}"), link).unwrap();
        }
        symlink(
            "../../../kernel/iommu_groups/17",
            pci.join("0000:03:10.2/iommu_group"),
        )
        .unwrap();
        symlink(
            "../../../bus/pci/drivers/vfio-pci",
            pci.join("0000:03:10.2/driver"),
        )
        .unwrap();
        let name = |name: &str| name.parse().unwrap();
        let read = VirtualFunctions::read(&sys, name("pf"));
        let virtual_interface = VirtualFunctions::read(&sys, name("lo")).unwrap_err();
        let absent = VirtualFunctions::read(&sys, name("eth7")).unwrap_err();
        let read = read.unwrap();
        // Where the interface is not shown.
        fs::remove_dir_all(&net).unwrap();
        let groups = [0, 1, 2].map(|number| read.iommu_group(number));
        let driver = read.driver(1);
        fs::remove_dir_all(&sys).unwrap();
        assert_eq!(read.total(), 63);
        let addresses: Vec<_> = read.addresses().iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["0000:03:10.0", "0000:03:10.2"]);
        assert_eq!(groups, [None, Some(17), None]);
        assert_eq!(driver.as_deref(), Some("vfio-pci"));
        assert!(matches!(virtual_interface, Error::Invalid(_)));
        assert!(absent.is_not_found());
    }
}
