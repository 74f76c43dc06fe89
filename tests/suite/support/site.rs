//! A deployment of its own for a test: a sandbox, a remote on this host whose releases have a file `version`, and commands for it.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::sandbox::{Run, Sandbox};

pub struct Site {
    pub sandbox: Sandbox,
    pub remote: String,
}

impl Site {
    /// Its remote is a ZIP, which is not there before the first [`Site::put`]; `config` stands in its configuration.
    pub fn new(config: &str) -> Self {
        Self::at(Sandbox::new(), config)
    }

    /// The same in a sandbox that is there already.
    pub fn at(sandbox: Sandbox, config: &str) -> Self {
        let remote = sandbox.path("app.zip").display().to_string();
        let site = Self { sandbox, remote };
        site.config(config);
        site
    }

    /// Its remote is a directory, `src`.
    pub fn with_directory(config: &str) -> Self {
        let sandbox = Sandbox::new();
        let remote = sandbox.path("src");
        fs::create_dir(&remote).unwrap();
        let site = Self { sandbox, remote: remote.display().to_string() };
        site.config(config);
        site
    }

    pub fn config(&self, text: &str) {
        self.sandbox.write("repo-deploy.cfg", text);
    }

    /// Offers a release with this version: a new ZIP, or a new file in the directory.
    pub fn put(&self, version: &str) {
        self.put_files(&[("version", version)]);
    }

    /// Offers these files: a new ZIP of them at once, or each anew in the directory, whose other files stay.
    pub fn put_files(&self, files: &[(&str, &str)]) {
        let remote = Path::new(&self.remote);
        if remote.is_dir() {
            for (name, content) in files {
                self.sandbox.write(remote.join(name), content);
            }
        } else {
            fs::rename(self.sandbox.zip("new.zip", files), self.sandbox.path("app.zip")).unwrap();
        }
    }

    /// `repo-deploy WORDS` for this deployment, not started yet.
    pub fn command(&self, words: &[&str]) -> Command {
        self.sandbox.saying(words, &["--remote", &self.remote])
    }

    /// `repo-deploy WORDS` for this deployment.
    pub fn does(&self, words: &[&str]) -> Run {
        self.command(words).output().unwrap().into()
    }

    /// One check.
    pub fn check(&self) -> Run {
        self.check_with(&[])
    }

    /// One check with more options.
    pub fn check_with(&self, args: &[&str]) -> Run {
        self.sandbox.deploy(&self.remote, args)
    }

    /// The version that is live, or why there is none.
    pub fn live(&self) -> String {
        fs::read_to_string(self.sandbox.local().join("version")).unwrap_or_else(|e| e.kind().to_string())
    }
}
