#!/usr/bin/env python3
"""Side by side with curl, bsdtar, unzip and git, in one run and in turn, on tmpfs: ratios of medians, and peak memory.

usage: tests/bench.py BINARY [ROUNDS [SECTION...]]; sections: git unpack poll memory. Judges nothing: times on a shared machine
are no test. Prints the rows of tables; with BENCH_ROWS=FILE they are added there for tests/bench_page.py.
"""
import json, os, random, shutil, socket, statistics, subprocess, sys, tempfile, time, zipfile

BINARY = os.path.realpath(sys.argv[1])
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 9
SECTIONS = sys.argv[3:] or ["git", "unpack", "poll", "memory"]
ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/nonexistent"}


def archive(path, files, size, seed):
    """A ZIP of `files` members of `size` bytes that deflate halves: hexadecimal digits, 50 to a directory."""
    rng = random.Random(seed)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
        for n in range(files):
            out.writestr(f"app/d{n // 50:03}/file{n:05}.txt", rng.randbytes(size // 2).hex())


def row(table, **cells):
    """One row of a table: a cell for each column."""
    print(f"{table}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in cells.items()), flush=True)
    if "BENCH_ROWS" in os.environ:
        with open(os.environ["BENCH_ROWS"], "a") as out:
            out.write(json.dumps([table, {name.replace("_", " "): str(value) for name, value in cells.items()}]) + "\n")


def run(argv):
    """Seconds and exit code of one command."""
    begun = time.perf_counter()
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    code = subprocess.run(argv, env=ENV, **quiet).returncode
    return time.perf_counter() - begun, code


def peak(argv):
    """Peak resident MiB of one command. By GNU time: a child of this interpreter would inherit its peak at the fork."""
    with tempfile.NamedTemporaryFile("r") as out:
        run(["time", "-q", "-f", "%M", "-o", out.name, *argv])
        return int(out.read()) / 1024


class Nginx:
    def __init__(self, root, server="", log="off", listen="", www=None):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        conf = os.path.join(root, "nginx.conf")
        with open(conf, "w") as out:
            out.write(f"""user root; worker_processes 1; pid {root}/nginx.pid; error_log {root}/error.log; daemon off;
events {{}} http {{ log_format bytes '$body_bytes_sent'; access_log {log}; sendfile on; client_body_temp_path {root}/t1; proxy_temp_path {root}/t2;
fastcgi_temp_path {root}/t3; uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
server {{ listen 127.0.0.1:{self.port} {listen}; root {www or root + '/www'}; {server} }} }}""")
        self.process = subprocess.Popen(["nginx", "-c", conf, "-p", root], env=ENV, stderr=subprocess.DEVNULL)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                if self.process.poll() is not None:
                    sys.exit("nginx did not start")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def fresh(path):
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def deploy_argv(work, url):
    return [BINARY, "-f", "-c", f"{work}/cfg", "-r", url, "-l", f"{work}/live/current", "--cache", f"{work}/cache",
            "--pre-hooks", f"{work}/none", "--post-hooks", f"{work}/none"]


def median(rows):
    return statistics.median(rows) * 1000


def in_turn(contestants, rounds=ROUNDS):
    """Runs each once a round; `before` is not timed. Gives medians in milliseconds."""
    times = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, (before, argv) in contestants.items():
            before()
            seconds, code = run(argv)
            if code != 0:
                sys.exit(f"{name}: exit code {code}")
            times[name].append(seconds)
    return {name: median(rows) for name, rows in times.items()}


GIT = {**ENV, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
       "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}


def git(at, *args):
    return subprocess.run(["git", *args], cwd=at, env=GIT, check=True, capture_output=True, text=True).stdout.strip()


class GitServer:
    """git-http-backend behind nginx, on base/git."""

    def __init__(self, base):
        self.log, socket_path = f"{base}/bytes.log", f"{base}/cgi"
        self.cgi = subprocess.Popen(["fcgiwrap", "-c", "3", "-s", f"unix:{socket_path}"], env=ENV,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        while not os.path.exists(socket_path):
            os.sched_yield()  # it is there in a moment
        backend = git("/", "--exec-path") + "/git-http-backend"
        params = {"SCRIPT_FILENAME": backend, "GIT_PROJECT_ROOT": f"{base}/git", "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": "$uri",
                  "QUERY_STRING": "$query_string", "REQUEST_METHOD": "$request_method", "CONTENT_TYPE": "$content_type",
                  "CONTENT_LENGTH": "$content_length", "HTTP_CONTENT_ENCODING": "$http_content_encoding",
                  "GIT_PROTOCOL": "$http_git_protocol"}
        lines = "".join(f"fastcgi_param {name} {value};" for name, value in params.items())
        location = f"client_max_body_size 0; location / {{ fastcgi_pass unix:{socket_path}; {lines} }}"
        self.nginx = Nginx(base, location, f"{self.log} bytes")
        self.url = f"http://127.0.0.1:{self.nginx.port}"

    def bytes(self):
        """How many it has sent so far."""
        with open(self.log) as log:
            return sum(map(int, log.read().split()))

    def stop(self):
        self.nginx.stop()
        os.killpg(self.cgi.pid, 9)
        self.cgi.wait()


def repository(base, name, files):
    """A bare repository of one commit on the branch main: path -> content."""
    work, bare = fresh(f"{base}/work"), fresh(f"{base}/git/{name}.git")
    for path, content in files:
        os.makedirs(os.path.dirname(f"{work}/{path}"), exist_ok=True)
        with open(f"{work}/{path}", "wb") as out:
            out.write(content)
    git(work, "init", "-q", "-b", "main")
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "m")
    git(bare, "init", "-q", "--bare", "-b", "main")
    git(bare, "config", "uploadpack.allowFilter", "true")
    git(work, "push", "-q", bare, "main")
    git(bare, "repack", "-q", "-a", "-d")
    shutil.rmtree(work)


def git_section(base):
    """What git does beside what we do with git."""
    rng = random.Random(3)
    open(f"{base}/cfg", "w").close()
    repository(base, "app", ((f"d{n // 50:03}/f{n:05}.txt", rng.randbytes(5400).hex().encode()) for n in range(5000)))
    # 200 MB that do not shrink, 2 MB of them in the directory that is wanted.
    repository(base, "big", ((f"{'web' if n % 100 == 0 else 'other'}/d{n // 500:03}/f{n:05}", rng.randbytes(40_000)) for n in range(5000)))
    server = GitServer(base)
    try:
        live, url = f"{base}/live", f"{server.url}/app.git"
        clean = lambda: (fresh(live), fresh(f"{base}/cache"), shutil.rmtree(f"{base}/clone", ignore_errors=True))
        clone = ["git", "-c", "core.hooksPath=/dev/null", "clone", "-q", "--depth", "1", "-b", "main"]
        medians = in_turn({
            "repo-deploy": (clean, deploy_argv(base, f"{url}#main")),
            "git clone": (clean, [*clone, url, f"{base}/clone"]),
        })
        ours, theirs = medians["repo-deploy"], medians["git clone"]
        row("git", work="first deployment of 5,000 files, 54 MB", peer="git clone --depth 1", ms=f"{ours:.0f}", ratio=f"{ours / theirs:.2f}")
        nothing = lambda: None
        medians = in_turn({
            "repo-deploy": (nothing, deploy_argv(base, f"{url}#main")),
            "git ls-remote": (nothing, ["git", "ls-remote", url, "refs/heads/main"]),
        }, ROUNDS * 5)
        ours, theirs = medians["repo-deploy"], medians["git ls-remote"]
        row("git", work="check without news", peer="git ls-remote", ms=f"{ours:.2f}", ratio=f"{ours / theirs:.2f}")
        clean()
        before = server.bytes()
        run([*clone, f"{server.url}/big.git", f"{base}/clone"])
        whole = server.bytes() - before
        if run(deploy_argv(base, f"{server.url}/big.git/web#main"))[1] != 0:
            sys.exit("the deployment of a directory failed")
        part = server.bytes() - before - whole
        row("git", work="a directory with 1 % of 200 MB, bytes", peer="git clone --depth 1", ms="", ratio=f"{part / whole:.3f}")
    finally:
        server.stop()


def unpack_section(base, url):
    live = f"{base}/live"
    archive(f"{base}/www/app.zip", 5000, 21600, 1)
    clean = lambda: (fresh(live), fresh(f"{base}/cache"))
    script = lambda unpack: ["sh", "-ec", f"curl -sf -o {live}/a.zip {url}; mkdir {live}/t; {unpack}; rm {live}/a.zip"]
    medians = in_turn({
        "repo-deploy": (clean, deploy_argv(base, url)),
        "curl + bsdtar": (clean, script(f"bsdtar -xf {live}/a.zip -C {live}/t")),
        "curl + unzip": (clean, script(f"unzip -q {live}/a.zip -d {live}/t")),
    })
    ours = medians.pop("repo-deploy")
    for peer, theirs in medians.items():
        row("nothing is written to a disk", work="first deployment of 5,000 files, 108 MB, tmpfs", peer=peer, ms=f"{ours:.0f}",
            ratio=f"{ours / theirs:.2f}")


def certificate(base):
    """A CA, and a certificate of 127.0.0.1 from it."""
    new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    shell = f"""cd {base}
openssl req -x509 {new} -keyout ca.key -out ca.pem -days 2 -subj /CN=bench
openssl req {new} -keyout key.pem -out req.pem -subj /CN=bench -addext subjectAltName=IP:127.0.0.1
openssl x509 -req -in req.pem -CA ca.pem -CAkey ca.key -CAcreateserial -copy_extensions copy -out cert.pem -days 2"""
    subprocess.run(["sh", "-ec", shell], check=True, capture_output=True)


def poll_section(base, url):
    """A check without news beside curl's conditional request, over http, and over https with a CA of its own."""
    archive(f"{base}/www/app.zip", 1, 1000, 1)
    certificate(base)
    os.utime(f"{base}/www/app.zip", (1_750_000_000, 1_750_000_000))
    tls = Nginx(fresh(f"{base}/tls"), f"ssl_certificate {base}/cert.pem; ssl_certificate_key {base}/key.pem;", listen="ssl", www=f"{base}/www")
    try:
        etag = subprocess.run(["curl", "-sfI", url], env=ENV, capture_output=True, text=True, check=True).stdout
        etag = next(line.split(": ", 1)[1].strip() for line in etag.splitlines() if line.lower().startswith("etag"))
        nothing = lambda: None
        for work, target, config, trust in (("http", url, "", []),
                                            ("https, ca-file", f"https://127.0.0.1:{tls.port}/app.zip", f"ca-file = {base}/ca.pem\n",
                                             ["--cacert", f"{base}/ca.pem"])):
            with open(f"{base}/cfg", "w") as out:
                out.write(config)
            fresh(f"{base}/live")
            ours = deploy_argv(base, target)
            run(ours)
            medians = in_turn({
                "repo-deploy": (nothing, ours),
                "curl": (nothing, ["curl", "-sf", "-o", "/dev/null", "-H", f"If-None-Match: {etag}", *trust, target]),
            }, ROUNDS * 5)
            row("check without news", work=work, peer="curl -H If-None-Match", ms=f"{medians['repo-deploy']:.2f}",
                ratio=f"{medians['repo-deploy'] / medians['curl']:.2f}")
    finally:
        tls.stop()
        open(f"{base}/cfg", "w").close()


def memory_section(base, url):
    for files, size in ((5000, 21600), (20000, 92000), (200_000, 20)):
        archive(f"{base}/www/app.zip", files, size, 2)
        fresh(f"{base}/live")
        fresh(f"{base}/cache")
        row("memory", work=f"first deployment of {files:,} files, {files * size / 1e6:,.0f} MB", peak_MiB=f"{peak(deploy_argv(base, url)):.1f}")
    row("memory", work="--help", peak_MiB=f"{peak([BINARY, '--help']):.1f}")


def main():
    for program in ("git", "fcgiwrap", "time", "curl", "bsdtar", "unzip", "openssl"):
        if not shutil.which(program, path=ENV["PATH"]):
            sys.exit(f"{program} is missing: tests/parts.sh installs it")
    base = tempfile.mkdtemp(prefix="repo-deploy-bench-", dir="/dev/shm")
    os.makedirs(f"{base}/www")
    open(f"{base}/cfg", "w").close()
    nginx = Nginx(base)
    try:
        url = f"http://127.0.0.1:{nginx.port}/app.zip"
        for section in SECTIONS:
            if section == "git":
                git_section(fresh(f"{base}/of-git"))
            else:
                {"unpack": unpack_section, "poll": poll_section, "memory": memory_section}[section](base, url)
    finally:
        nginx.stop()
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
