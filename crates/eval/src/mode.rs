use std::fmt;
use std::str::FromStr;

/// What the engine is told about when the trouble began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    #[default]
    Blind,
    /// The time that the set gives, moved later by some seconds.
    Given {
        /// Seconds.
        late: u32,
    },
}

impl Mode {
    /// The time that the engine is told, from the time that the set gives (seconds).
    pub fn hint(self, given: f64) -> Option<f64> {
        match self {
            Self::Blind => None,
            Self::Given { late } => Some(given + f64::from(late)),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blind => f.write_str("blind"),
            Self::Given { late: 0 } => f.write_str("given"),
            Self::Given { late } => write!(f, "given:late={late}"),
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("{text:?} is none of blind, given, given:late=SECONDS");
        match text {
            "blind" => Ok(Self::Blind),
            "given" => Ok(Self::Given { late: 0 }),
            other => {
                let late = other.strip_prefix("given:late=").ok_or_else(unknown)?;
                Ok(Self::Given { late: late.parse().map_err(|_| unknown())? })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_read_back_as_written() {
        for text in ["blind", "given", "given:late=60"] {
            assert_eq!(text.parse::<Mode>().unwrap().to_string(), text);
        }
        for bad in ["", "late", "given:60", "given:late=-1", "given:late="] {
            assert!(bad.parse::<Mode>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_blind_engine_is_told_nothing() {
        assert_eq!(Mode::Blind.hint(10.0), None);
        assert_eq!(Mode::Given { late: 60 }.hint(10.0), Some(70.0));
    }
}
