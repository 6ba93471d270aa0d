// SPDX-License-Identifier: GPL-2.0-only
//! What we need of Debian's archive: the mirrors this machine uses, the host packages that are missing,
//! and the names of the newest kernels.
//!
//! Kernel packages come and go on the mirrors, so no version is written down here: only patterns are,
//! and each set-up resolves them anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{cache, sh};

/// The release the tools and the guest are made of, and the older one whose kernel we take.
pub(crate) const RELEASE: &str = "trixie";
const OLDER: &str = "bookworm";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The two mirrors of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirrors {
    main: String,
    security: String,
}

/// One line of a sources file: where, and which suites.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    suite: String,
}

/// Installs the host packages that are missing.
pub(crate) fn host_packages(wanted: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(probe, _)| !(sh::have(probe) || Path::new(probe).exists()))
        .map(|(_, p)| *p)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !sh::have("apt-get") {
        bail!(
            "please install {} (this machine has no apt-get)",
            missing.join(", ")
        );
    }
    sh::say(format!("installing {}", missing.join(", ")));
    let log = cache::dir()?.join("log/host-packages.log");
    let install = |log: &Path| {
        let mut command = sh::privileged("env");
        command
            .args([
                "DEBIAN_FRONTEND=noninteractive",
                "apt-get",
                "install",
                "-y",
                "--no-install-recommends",
            ])
            .args(&missing);
        sh::run_logged(&mut command, log)
    };
    if install(&log).is_err() {
        sh::run_logged(
            sh::privileged("apt-get").arg("update"),
            &cache::dir()?.join("log/host-update.log"),
        )?;
        install(&log)?;
    }
    Ok(())
}

impl Mirrors {
    /// The mirrors in this machine's own apt configuration, or in `BLKSNAP_MIRROR` and `BLKSNAP_SECURITY_MIRROR`.
    pub(crate) fn of_this_machine() -> Result<Mirrors> {
        let mut texts = Vec::new();
        let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
        if let Ok(dir) = fs::read_dir("/etc/apt/sources.list.d") {
            files.extend(dir.flatten().map(|e| e.path()));
        }
        files.sort();
        for file in files {
            let deb822 = file.extension().is_some_and(|e| e == "sources");
            if (deb822 || file.extension().is_some_and(|e| e == "list"))
                && let Ok(text) = fs::read_to_string(&file)
            {
                texts.push((deb822, text));
            }
        }
        let sources: Vec<Source> = texts
            .iter()
            .flat_map(|(deb822, text)| {
                if *deb822 {
                    parse_deb822(text)
                } else {
                    parse_lines(text)
                }
            })
            .collect();
        Self::choose(
            &sources,
            std::env::var("BLKSNAP_MIRROR").ok(),
            std::env::var("BLKSNAP_SECURITY_MIRROR").ok(),
        )
    }

    fn choose(
        sources: &[Source],
        main: Option<String>,
        security: Option<String>,
    ) -> Result<Mirrors> {
        let debian = [
            RELEASE,
            OLDER,
            "stable",
            "oldstable",
            "testing",
            "forky",
            "sid",
            "unstable",
        ];
        let main = main
            .or_else(|| sources.iter().find(|s| debian.contains(&s.suite.as_str())).map(|s| s.uri.clone()))
            .context(
                "no Debian mirror in this machine's apt sources; set BLKSNAP_MIRROR (and \
                 BLKSNAP_SECURITY_MIRROR) to the addresses of mirrors of debian and debian-security",
            )?;
        let security = security
            .or_else(|| {
                sources
                    .iter()
                    .find(|s| s.suite.strip_suffix("-security").is_some_and(|s| debian.contains(&s)))
                    .map(|s| s.uri.clone())
            })
            .or_else(|| main.strip_suffix("/debian").map(|base| format!("{base}/debian-security")))
            .context("no mirror of debian-security in this machine's apt sources; set BLKSNAP_SECURITY_MIRROR")?;
        Ok(Mirrors { main, security })
    }

    /// The sources of the release alone, and with the kernels of the older one.
    pub(crate) fn lines(&self, with_older: bool) -> Vec<String> {
        let line = |uri: &str, suite: &str| format!("deb [signed-by={KEYRING}] {uri} {suite} main");
        let mut lines = vec![
            line(&self.main, RELEASE),
            line(&self.main, &format!("{RELEASE}-updates")),
            line(&self.security, &format!("{RELEASE}-security")),
            line(&self.main, &format!("{RELEASE}-backports")),
        ];
        if with_older {
            lines.push(line(&self.main, OLDER));
            lines.push(line(&self.security, &format!("{OLDER}-security")));
        }
        lines
    }
}

/// The machine's own proxy and such settings, as `--aptopt`s and lines of a configuration.
pub(crate) fn acquire_settings() -> Vec<String> {
    let Ok(text) = sh::output(Command::new("apt-config").arg("dump")) else {
        return Vec::new();
    };
    text.lines()
        .filter(|l| {
            let key = l.split(' ').next().unwrap_or_default();
            (key.starts_with("Acquire::http") || key.starts_with("Acquire::https"))
                && (key.ends_with("::Proxy")
                    || key.contains("::Proxy::")
                    || key.ends_with("Verify-Peer")
                    || key.ends_with("CaInfo"))
                && !l.ends_with("\"\";")
        })
        .map(str::to_owned)
        .collect()
}

fn parse_lines(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix("deb ") else {
            continue;
        };
        let rest = rest.trim();
        // Options in brackets may hold spaces.
        let rest = if rest.starts_with('[') {
            rest.split_once(']').map_or("", |(_, r)| r)
        } else {
            rest
        };
        let mut words = rest.split_whitespace();
        if let (Some(uri), Some(suite)) = (words.next(), words.next()) {
            found.push(source(uri, suite));
        }
    }
    found
}

fn parse_deb822(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for paragraph in text.replace("\r\n", "\n").split("\n\n") {
        let (mut uris, mut suites, mut types, mut enabled) =
            (String::new(), String::new(), String::new(), true);
        let mut field = String::new();
        for line in paragraph.lines() {
            if line.starts_with('#') {
                continue;
            }
            let value = if line.starts_with([' ', '\t']) {
                line.trim()
            } else if let Some((key, value)) = line.split_once(':') {
                field = key.trim().to_ascii_lowercase();
                value.trim()
            } else {
                continue;
            };
            match field.as_str() {
                "uris" => uris = format!("{uris} {value}"),
                "suites" => suites = format!("{suites} {value}"),
                "types" => types = format!("{types} {value}"),
                "enabled" => {
                    enabled = !matches!(value.to_ascii_lowercase().as_str(), "no" | "false")
                }
                _ => {}
            }
        }
        if !enabled || !types.split_whitespace().any(|t| t == "deb") {
            continue;
        }
        for uri in uris.split_whitespace() {
            found.extend(suites.split_whitespace().map(|suite| source(uri, suite)));
        }
    }
    found
}

fn source(uri: &str, suite: &str) -> Source {
    Source {
        uri: uri.trim_end_matches('/').to_owned(),
        suite: suite.trim_end_matches('/').to_owned(),
    }
}

/// A private apt: its lists are in the cache, and nothing of the machine's own apt is touched.
pub(crate) struct Apt {
    config: PathBuf,
    archives: PathBuf,
}

impl Apt {
    /// Reads the archive's lists.
    pub(crate) fn update(mirrors: &Mirrors) -> Result<Apt> {
        let dir = cache::dir()?.join("apt");
        let archives = dir.join("archives");
        for sub in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        sh::write(&dir.join("status"), "")?;
        sh::write(
            &dir.join("sources.list"),
            mirrors.lines(true).join("\n") + "\n",
        )?;
        let d = dir.display();
        let mut text = format!(
            "Dir::State \"{d}\";\nDir::State::lists \"{d}/lists\";\nDir::State::status \"{d}/status\";\n\
             Dir::Cache \"{d}\";\nDir::Cache::archives \"{d}/archives\";\nDir::Etc::sourcelist \"{d}/sources.list\";\n\
             Dir::Etc::sourceparts \"-\";\nDir::Etc::preferences \"-\";\nDir::Etc::preferencesparts \"-\";\n\
             Acquire::Languages \"none\";\nAPT::Sandbox::User \"\";\nAPT::Architecture \"amd64\";\n\
             APT::Architectures {{ \"amd64\"; }};\nAcquire::Retries \"3\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             Acquire::IndexTargets::deb::CNF::DefaultEnabled \"false\";\n"
        );
        for setting in acquire_settings() {
            text += &setting;
            text.push('\n');
        }
        let config = dir.join("apt.conf");
        sh::write(&config, text)?;
        let apt = Apt { config, archives };
        sh::run_logged(
            apt.command("apt-get").arg("update"),
            &cache::dir()?.join("log/apt-update.log"),
        )?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C");
        command
    }

    /// The real packages whose names begin with `prefix`.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let pattern = format!("^{}", prefix.replace('.', "\\.").replace('+', "\\+"));
        let text =
            sh::output(
                self.command("apt-cache")
                    .args(["search", "--names-only", &pattern]),
            )?;
        Ok(text
            .lines()
            .filter_map(|l| l.split_once(" - ").map(|(n, _)| n.to_owned()))
            .collect())
    }

    /// The names a package depends on, alternatives and versions left out.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let text =
            sh::output(
                self.command("apt-cache")
                    .args(["show", "--no-all-versions", package]),
            )?;
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("Depends: "))
            .unwrap_or_default();
        Ok(line
            .split(", ")
            .filter_map(|d| d.split_whitespace().next())
            .map(str::to_owned)
            .collect())
    }

    /// Fetches a package's file, or finds it in the cache.
    pub(crate) fn download(&self, package: &str) -> Result<PathBuf> {
        let text =
            sh::output(
                self.command("apt-cache")
                    .args(["show", "--no-all-versions", package]),
            )?;
        let version = text
            .lines()
            .find_map(|l| l.strip_prefix("Version: "))
            .context("a package without a version")?;
        let architecture = text
            .lines()
            .find_map(|l| l.strip_prefix("Architecture: "))
            .context("a package without an architecture")?;
        let file = self.archives.join(format!(
            "{package}_{}_{architecture}.deb",
            version.replace(':', "%3a")
        ));
        if !file.is_file() {
            let partial = self.archives.join("partial");
            sh::run_logged(
                self.command("apt-get")
                    .args(["download", package])
                    .current_dir(&partial),
                &cache::dir()?.join(format!("log/download-{package}.log")),
            )?;
            let name = file.file_name().context("no name")?;
            fs::rename(partial.join(name), &file)
                .with_context(|| format!("{package} was fetched under another name"))?;
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_sources_are_read() {
        let text = "Types: deb deb-src\nURIs: http://a.example/debian/\nSuites: trixie trixie-updates\n\
                    Components: main\n# a comment\n\nTypes: deb\nURIs: http://a.example/debian-security\n\
                    Suites: trixie-security\nEnabled: yes\n\nTypes: deb\nURIs: http://b.example/debian\n\
                    Suites: trixie\nEnabled: no\n";
        let sources = parse_deb822(text);
        assert_eq!(sources.len(), 3);
        let mirrors = Mirrors::choose(&sources, None, None).unwrap();
        assert_eq!(mirrors.main, "http://a.example/debian");
        assert_eq!(mirrors.security, "http://a.example/debian-security");

        let lines = "# deb http://c.example/debian bookworm main\n\
                     deb [arch=amd64 signed-by=/x] http://d.example/debian bookworm main contrib\n";
        let mirrors = Mirrors::choose(&parse_lines(lines), None, None).unwrap();
        assert_eq!(mirrors.security, "http://d.example/debian-security");
        assert!(Mirrors::choose(&[], None, None).is_err());
    }
}
