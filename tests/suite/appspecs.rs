//! Shapes of appspecs as people publish them, written anew: each is taken or refused as AWS CodeDeploy's agent does it, or
//! docs/codedeploy.md says what differs. The agent's verdict is that of its own classes (1.8.1, with a Ruby whose YAML has aliases).

use std::fs;
use std::path::Path;

use crate::support::sandbox::{Run, Sandbox};

/// What becomes of a shape.
enum Verdict {
    /// By the agent and by us.
    Taken,
    /// By the agent and by us.
    Refused,
    /// The agent takes it, and the page has these words in what is refused here.
    OnlyThere(&'static str),
    /// The agent refuses it, and the page has these words in what is taken here.
    OnlyHere(&'static str),
}
use Verdict::{OnlyHere, OnlyThere, Refused, Taken};

const NOTHING: &str = "";
const HEAD: &str = "version: 0.0\nos: linux\n";
const FILES: &str = "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/shapes\n";
const HOOKS: &str = "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/shapes\nhooks:\n";
const PERMISSION: &str = "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/shapes\npermissions:\n  - object: /srv/shapes\n";

#[rustfmt::skip]
const SHAPES: &[(&str, &str, Verdict)] = &[
    (FILES, "", Taken),
    (HEAD, "files:\n  - source: app\n    destination: /opt/shapes\n  - source: config/app.conf\n    destination: /etc/shapes\n", Taken),
    (HEAD, "files:\n- source: dist/\n  destination: /var/www/shapes/\n", Taken),
    (HEAD, "files:\n  - source: /\n    destination: /home/shapes/build\n    overwrite: true\nfile_exists_behavior: OVERWRITE\n", Taken),
    (HEAD, "file_exists_behavior: RETAIN\nfiles:\n  - source: 'dist'\n    destination: \"/var/www/shapes\"\n", Taken),
    (HEAD, "files:\n  - source: app.jar\n    destination: /opt/shapes\n  - source: app.service\n    destination: /opt/shapes/units\n", Taken),
    (HEAD, "files:\n  - source: ./app\n    destination: /srv/shapes\n", Taken),
    (HEAD, "files:\n  - {source: app, destination: /srv/shapes}\n", Taken),
    (HEAD, "files: [{source: app, destination: /srv/shapes}]\n", Taken),
    (HEAD, "files:\n  - source: 'with blank.txt'\n    destination: /srv/shapes/a b\n", Taken),
    (HEAD, "files:\n  - source: app\n    destination: /srv/shapes\n  - source: dist\n    destination: /srv/shapes/public\n", Taken),
    (HEAD, "files:\n  - source: app.jar\n    destination: /srv/shapes\n  - source: app.jar\n    destination: /srv/shapes\n", Refused),
    (HEAD, "files:\n  source: /\n  destination: /srv/shapes\n", Refused),
    (HEAD, "files:\n  - source: /\n", Refused),
    (HEAD, "files:\n  - destination: /srv/shapes\n", Refused),
    (HEAD, "files:\n  - source: /\n    destination:\n", Refused),
    (HEAD, "files:\n  - /srv/shapes\n", Refused),
    (HEAD, "files: /srv/shapes\n", Refused),
    (HEAD, "files:\n  - source: app\n    destination: srv/shapes\n", OnlyThere("`destination` or `object` relative")),
    (HEAD, "files:\n  - source: app\n    destination: /srv/other/../shapes\n", OnlyThere("or with `..`")),
    (HEAD, "files:\n  - source: app\n    destination: /\n", OnlyThere("`destination: /`")),
    (HEAD, "file_exists_behavior: overwrite\nfiles:\n  - source: /\n    destination: /srv/shapes\n", Refused),
    (NOTHING, "version: 0.0  \n\nos: linux  \nfiles:\n  - source: /\n    destination: /srv/shapes\n", Taken),
    (NOTHING, "# comment\nversion: 0.0 # comment\nos: linux\n", Taken),
    (NOTHING, "os: linux\nversion: 0.0\nhooks:\n  AfterInstall:\n    - location: scripts/after.sh\n", Taken),
    (NOTHING, "version: 0\nos: linux\n", Taken),
    (NOTHING, "version: 0.00\nos: linux\n", Taken),
    (NOTHING, "version: \"0.0\"\nos: linux\n", OnlyHere("`version: \"0.0\"`")),
    (NOTHING, "version: 1.0\nos: linux\n", Refused),
    (NOTHING, "version: 0.1\nos: linux\n", Refused),
    (NOTHING, "os: linux\n", Refused),
    (NOTHING, "version: 0.0\n", Refused),
    (NOTHING, "version: 0.0\nos: Linux\n", Refused),
    (NOTHING, "version: 0.0\nos: windows\nfiles:\n  - source: \\\n    destination: C:\\shapes\n", Refused),
    (NOTHING, "version: 0.0\nos: ubuntu\n", Refused),
    (NOTHING, "", Refused),
    (NOTHING, "version: 0.0\nResources:\n  - TargetService:\n      Type: AWS::ECS::Service\n", Refused),
    (HEAD, "files:\npermissions:\nhooks:\n", Taken),
    (HOOKS, "  BeforeInstall:\n  AfterInstall:\n    - location: scripts/after.sh\n      timeout:\n      runas:\n  ApplicationStart: null\n", Taken),
    (FILES, "permissions: ~\nhooks: {}\n", Taken),
    (HOOKS, "  ApplicationStop:\n    - location: scripts/stop.sh\n      timeout: 300\n      runas: root\n  BeforeInstall:\n    - location: scripts/before.sh\n      timeout: 300\n      runas: root\n  AfterInstall:\n    - location: scripts/after.sh\n  ApplicationStart:\n    - location: scripts/start.sh\n  ValidateService:\n    - location: scripts/validate.sh\n", Taken),
    (HOOKS, "  AfterInstall:\n  - location: scripts/after.sh\n    timeout: 60\n  - location: /scripts/start.sh\n    timeout: '60'\n", Taken),
    (HOOKS, "  AfterInstall:\n    - location: scripts/after.sh\n      sudo: true\n", Taken),
    (HOOKS, "  AfterInstall:\n    - location: \" scripts/after.sh \"\n      runas: \" root\"\n", Taken),
    (HOOKS, "  AfterInstall:\n    - location: |\n        scripts/after.sh\n", Taken),
    (HOOKS, "  AfterInstall:\n    location: scripts/after.sh\n", Refused),
    (HOOKS, "  AfterInstall: scripts/after.sh\n", Refused),
    (HOOKS, "  AfterInstall:\n    - scripts/after.sh\n", Refused),
    (HOOKS, "  - AfterInstall:\n      - location: scripts/after.sh\n", Refused),
    (HOOKS, "  AfterInstall:\n    - location:\n      timeout: 5\n", Refused),
    (HOOKS, "  AfterInstall:\n    - runas: root\n", Refused),
    (HOOKS, "  afterInstall:\n    - location: scripts/after.sh\n", Refused),
    (HOOKS, "  Restart:\n    - location: scripts/after.sh\n", Refused),
    (HOOKS, "  Restart:\n", Taken),
    (HOOKS, "  AfterInstall:\n    - location: scripts/after.sh\n      timeout: 0\n", Refused),
    (HOOKS, "  AfterInstall:\n    - location: scripts/after.sh\n      timeout: -1\n", Refused),
    (HOOKS, "  AfterInstall:\n    - location: scripts/after.sh\n      timeout: soon\n", Refused),
    (HOOKS, "  AfterInstall:\n    - location: scripts/after.sh\n      timeout: 5m\n", OnlyThere("`timeout` as `5m`")),
    (HOOKS, "  ApplicationStart:    - location: scripts/start.sh\n      timeout: 60\n", Refused),
    (HOOKS, "  ValidateService:\n    - location: scripts/validate.sh\n    timeout: 3600\n     runas: root\n", Refused),
    (HOOKS, "  AfterInstall: []\n", Taken),
    (HOOKS, "  BeforeBlockTraffic:\n    - location: scripts/stop.sh\n  AfterBlockTraffic:\n    - location: scripts/stop.sh\n  BeforeAllowTraffic:\n    - location: scripts/start.sh\n  AfterAllowTraffic:\n    - location: scripts/validate.sh\n", Taken),
    (NOTHING, "---\nversion: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/shapes\nhooks:\n  AfterInstall: &same\n    - location: scripts/after.sh\n      timeout: 30\n  ApplicationStart: *same\n...\n", Taken),
    (HOOKS, "  AfterInstall:\n    - &base\n      location: scripts/after.sh\n      timeout: 30\n  ApplicationStart:\n    - <<: *base\n      location: scripts/start.sh\n", Taken),
    (NOTHING, "version: 0.0\r\nos: linux\r\nfiles:\r\n  - source: /\r\n    destination: /srv/shapes\r\nhooks:\r\n  AfterInstall:\r\n    - location: scripts/after.sh\r\n", Taken),
    (NOTHING, "\u{feff}version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/shapes\n", OnlyHere("a byte order mark at the beginning")),
    (HEAD, "files:\n  - source: app\n    destination:\t/srv/shapes\n", Taken),
    (HEAD, "files:\n\t- source: app\n\t  destination: /srv/shapes\n", Refused),
    (NOTHING, "{\"version\": 0.0, \"os\": \"linux\", \"files\": [{\"source\": \"app\", \"destination\": \"/srv/shapes\"}]}\n", Taken),
    (FILES, "---\nversion: 0.0\n", OnlyThere("a second document")),
    (HOOKS, "  AfterInstall:\n    - location: scripts/after.sh\n  AfterInstall:\n    - location: scripts/start.sh\n", OnlyThere("a key that is there twice")),
    (HEAD, "files:\n  - source: app\n  destination: /srv/shapes\n", Refused),
    (PERMISSION, "    pattern: \"**\"\n    owner: root\n    group: root\n    mode: 755\n", Taken),
    (PERMISSION, "    pattern: \"**\"\n    owner: root\n    group: root\n    mode: 644\n    type:\n      - file\n  - object: /srv/shapes\n    pattern: \"**\"\n    mode: 755\n    type:\n      - directory\n", Taken),
    (FILES, "permissions:\n  - object: /\n    pattern: \"**\"\n    owner: root\n    group: root\n", Taken),
    (PERMISSION, "    except: [\"*.jar\"]\n    mode: \"4755\"\n    type: [file]\n", Taken),
    (PERMISSION, "    pattern: '*.jar'\n    owner: root\n", Taken),
    (PERMISSION, "    pattern: 'app/*'\n    owner: root\n", Taken),
    (PERMISSION, "    mode: 0644\n", Taken),
    (PERMISSION, "    mode: 0755\n", OnlyHere("`mode: 0644`")),
    (PERMISSION, "    mode: '0644'\n    owner: root\n    acls:\n      - \"u:daemon:r\"\n      - \"mask::rw\"\n    type: [file]\n", Taken),
    (PERMISSION, "    acls: [\"daemon:r\", \"m:rw\"]\n    type: [file]\n", Taken),
    (PERMISSION, "    acls: [\"d:u:daemon:rwx\", \"default:g:daemon:5\", \"d:o:rx\", \"d:bin:rwx-\"]\n    type: [directory]\n", Taken),
    (PERMISSION, "    acls: [\"u::rwx\"]\n", OnlyHere("`u::`, `g::` and `o::`")),
    (PERMISSION, "    acls: [\"u:daemon:rwz\"]\n", Refused),
    (PERMISSION, "    acls: [\"rwx\"]\n", Refused),
    (PERMISSION, "    acls: [\"u:rwx\"]\n", OnlyThere("`u:rwx`")),
    (PERMISSION, "    context:\n      name: system_u\n      type: httpd_sys_content_t\n      range: s0-s0:c0.c1023\n    type: [file]\n", Taken),
    (PERMISSION, "    context:\n      type: httpd_sys_content_t\n      range: s1-s0\n", Refused),
    (PERMISSION, "    context:\n      type: httpd_sys_content_t\n      range: s0:c1024\n", Refused),
    (PERMISSION, "    context:\n      user: system_u\n", Refused),
    (PERMISSION, "    mode: 888\n", Refused),
    (PERMISSION, "    mode: '00644'\n", Refused),
    (PERMISSION, "    mode: u=rw\n", Refused),
    (PERMISSION, "    type: file\n", Refused),
    (PERMISSION, "    type: [link]\n", Refused),
    (PERMISSION, "    type:\n    owner: root\n", Taken),
    (PERMISSION, "    type: []\n    owner: root\n", Taken),
    (PERMISSION, "    except: '*.jar'\n", Refused),
    (FILES, "permissions:\n  - owner: root\n", Refused),
    (FILES, "permissions:\n  object: /srv/shapes\n  owner: root\n", Refused),
    (FILES, "permissions:\n  - object: srv/shapes\n    owner: root\n", OnlyThere("`destination` or `object` relative")),
    (PERMISSION, "    owner: root\n  - object: /srv/shapes\n    mode: 755\n", Refused),
    (FILES, "permissions:\n  - object: /srv/shapes/app.jar\n    mode: 755\n", Taken),
    (FILES, "permissions:\n  - object: /srv/shapes/app.jar\n    pattern: '*'\n    mode: 755\n", OnlyHere("an object that names a file, whatever the `pattern`")),
    (FILES, "permissions:\n  - object: /srv/elsewhere\n    mode: 755\n", Taken),
];

#[test]
fn appspecs_as_people_publish_them_are_taken_and_refused_as_the_agent_does_it() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/codedeploy.md")).unwrap();
    let differs = page.split("\n## Where CodeDeploy's agent differs\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let (refused_here, _) = differs.split_once("\nMore is taken").unwrap();
    // Paragraphs are wrapped; words are compared as one line.
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (differs, refused_here) = (flat(differs), flat(refused_here));
    let sandbox = Sandbox::new();
    for file in ["app/main", "dist/index.html", "config/app.conf", "app.jar", "app.service", "with blank.txt"] {
        sandbox.write(Path::new("bundle").join(file), "");
    }
    for script in ["stop", "before", "after", "start", "validate"] {
        sandbox.write(format!("bundle/scripts/{script}.sh"), "#!/bin/sh\n");
    }
    assert!(SHAPES.len() >= 60);
    for (head, rest, verdict) in SHAPES {
        let appspec = format!("{head}{rest}");
        sandbox.write("bundle/appspec.yml", &appspec);
        let run = Run::from(sandbox.bare().args(["validate", "bundle"]).output().unwrap());
        let code = match verdict {
            Taken | OnlyHere(_) => 0,
            Refused | OnlyThere(_) => 78,
        };
        assert_eq!(run.code, code, "{appspec}\n{}", run.out);
        match verdict {
            Taken | Refused => {}
            OnlyThere(words) => assert!(refused_here.contains(words), "{words:?} is not on the page: {appspec}"),
            OnlyHere(words) => assert!(differs.contains(words), "{words:?} is not on the page: {appspec}"),
        }
        let lines: Vec<_> = run.out.lines().collect();
        assert!(code == 0 || lines.iter().any(|line| line.contains(": error: ")), "{appspec}\n{}", run.out);
    }
}
