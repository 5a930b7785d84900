//! Values of options that are numbers, with their units and bounds.

/// A number of bytes: `4096`, `64KiB`, `256MiB`, `1GiB`; with `kB`, `MB`, `GB` in steps of 1000.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start() {
        "" | "B" => Some(1),
        "kB" | "KB" => Some(1_000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    number
        .parse()
        .ok()
        .zip(factor)
        .and_then(|(number, factor): (u64, u64)| number.checked_mul(factor))
        .ok_or_else(|| "give bytes such as 4096, 64KiB, 256MiB or 1GiB".to_owned())
}

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("give a number from 1".to_owned()),
    }
}

pub(super) fn page(text: &str) -> Result<usize, String> {
    match at_least_one(text) {
        Ok(number) if number <= hotread_store::MAX_PAGE => Ok(number),
        _ => Err(format!(
            "give a number from 1 to {}",
            hotread_store::MAX_PAGE
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, size) in [
            ("0", Ok(0)),
            ("4096", Ok(4096)),
            ("256MiB", Ok(256 << 20)),
            ("1 GB", Ok(1_000_000_000)),
        ] {
            assert_eq!(bytes(text), size);
        }
        for text in ["", "MiB", "-1", "1.5GiB", "1T", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
