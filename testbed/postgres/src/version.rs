//! The version that a server or a binary names.

/// Major and minor version, as in 17 and 2 for `17.2`.
pub(crate) type Version = (u32, u32);

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`; a beta or a development build
/// has minor version 0.
pub(crate) fn from_banner(text: &str) -> Option<Version> {
    let (_, after) = text.split_once("(PostgreSQL) ")?;
    let (major, rest) = leading_number(after)?;
    let minor = rest
        .strip_prefix('.')
        .and_then(leading_number)
        .map_or(0, |(minor, _)| minor);
    Some((major, minor))
}

/// Reads `server_version_num`, such as `150018`.
pub(crate) fn from_number(number: u32) -> Version {
    (number / 10_000, number % 10_000)
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banners_of_releases_betas_and_distributions_are_read() {
        for (banner, version) in [
            (
                "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n",
                Some((15, 18)),
            ),
            ("postgres (PostgreSQL) 18.4\n", Some((18, 4))),
            ("postgres (PostgreSQL) 18beta1\n", Some((18, 0))),
            ("postgres (PostgreSQL) 19devel", Some((19, 0))),
            ("initdb 3", None),
        ] {
            assert_eq!(from_banner(banner), version, "{banner}");
        }
    }

    #[test]
    fn version_number_is_split() {
        assert_eq!(from_number(150_018), (15, 18));
    }
}
