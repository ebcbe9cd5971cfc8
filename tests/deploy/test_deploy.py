"""What `deploy/` promises: units, container file, dashboard and alerts that need no change to run."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from joserfc.jwk import ECKey
from sqlalchemy import delete, insert

from gateway import clock
from gateway.access.client import PartnerAuth, TokenRefused
from gateway.console import trials
from gateway.demo.stage import FOLDER
from gateway.doors import MAX_BODY
from gateway.production import KEY_FILES
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage import open_engine
from gateway.storage.tables.meter import meter_reading
from tests.faults.house import eventually, free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted([*DEPLOY.glob("*.service"), *DEPLOY.glob("*.timer")])
MAILLON = Path(sys.executable).with_name("maillon")


def unit(name: str) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / name)
    return parser["Service"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_in_the_units(tmp_path: Path) -> None:
    """Their programs are looked for in this checkout: /opt/maillon is where the guide installs it."""
    for one in UNITS:
        content = one.read_text().replace("/opt/maillon/.venv/bin/maillon", str(MAILLON))
        (tmp_path / one.name).write_text(content.replace("/opt/maillon", str(ROOT)))
    for one in UNITS:
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", tmp_path / one.name], capture_output=True, text=True
        )
        ours = [line for line in done.stderr.splitlines() if one.stem.rstrip("@") in line or str(tmp_path) in line]
        assert not ours, ours


def test_the_keys_made_for_a_new_gateway_are_those_it_asks_for(tmp_path: Path) -> None:
    subprocess.run([DEPLOY / "keys", tmp_path / "keys"], check=True)
    made = {one.name: one.read_bytes() for one in (tmp_path / "keys").iterdir()}
    assert set(made) == set(KEY_FILES)
    assert {stat.S_IMODE((tmp_path / "keys" / name).stat().st_mode) for name in made} == {0o600}
    subprocess.run([DEPLOY / "keys", tmp_path / "keys"], check=True)
    assert {one.name: one.read_bytes() for one in (tmp_path / "keys").iterdir()} == made, "none is made again"


# The commands of the units, as an unprivileged user, in a clean folder, under the production profile.


class Installed:
    """An installation as the guide makes it, but for its folders and ports."""

    def __init__(self, folder: Path, database: str) -> None:
        self.home, self.ports, self.dropped = folder / "home", (free_port(), free_port()), folder / "caf"
        etc = folder / "etc"
        self.home.mkdir()
        self.dropped.mkdir()
        etc.mkdir()
        subprocess.run([DEPLOY / "keys", self.home / "keys"], check=True)
        key, table = etc / "dpo.key", etc / "decision.toml"
        shutil.copy(ROOT / "gateway" / "policies" / "decision.v1.toml", table)
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True, capture_output=True)
        subprocess.run([DEPLOY / "sign", key, table], check=True)
        subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", etc / "dpo.pem"], check=True)
        key.unlink()
        (etc / "maillon.toml").touch()
        example = (DEPLOY / "maillon.env.example").read_text().replace("/etc/maillon", str(etc))
        self.environment = dict(re.findall(r"^(MAILLON_\w+)=(.*)$", example, re.M)) | {
            "MAILLON_HOME": str(self.home),
            "MAILLON_DATABASE_URL": database,
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.user: list[str] = []
        if os.geteuid() == 0 and shutil.which("setpriv"):
            self.user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
            interpreter = Path(sys._base_executable)  # type: ignore[attr-defined]
            if subprocess.run([*self.user, "test", "-x", interpreter]).returncode:
                # It lies in a private folder of this machine: to be reached, never written to.
                self.user[-1:-1] = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
            folder.chmod(0o711)
            for path in (folder, *folder.rglob("*")):
                os.chown(path, 65534, 65534)
        self.running: list[subprocess.Popen[str]] = []

    def command(self, name: str) -> list[str]:
        words = shlex.split(unit(name)["ExecStart"].replace("841%i", str(self.ports[1])))
        words = [word.replace("/srv/maillon/%i", str(self.dropped)).replace("%i", "caf") for word in words]
        words = [word for word in words if word != "$DROP_OPTIONS"]
        assert words[0] == "/opt/maillon/.venv/bin/maillon"
        return [str(MAILLON), *(str(self.ports[0]) if word == "8400" else word for word in words[1:])]

    def start(self, name: str) -> subprocess.Popen[str]:
        one = subprocess.Popen(
            [*self.user, *self.command(name)], cwd=self.home, env=self.environment, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.running.append(one)
        return one

    def maillon(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.user, MAILLON, *words], cwd=self.home, env=self.environment, capture_output=True, text=True
        )

    def get(self, path: str, port: int = 0, patience: float = 120.0) -> httpx.Response:
        until = time.monotonic() + patience
        while True:
            try:
                answer = httpx.get(f"http://127.0.0.1:{port or self.ports[0]}{path}", timeout=10, trust_env=False)
                if answer.status_code < 500:
                    return answer
            except httpx.TransportError:
                pass
            assert time.monotonic() < until, [one.stderr.read() for one in self.running if one.poll() and one.stderr]
            time.sleep(0.3)


@pytest.fixture
def installation(empty_postgres_database: str) -> Iterator[Installed]:
    """In a folder that another user can reach: those of pytest are closed to all but its own."""
    with tempfile.TemporaryDirectory(prefix="maillon-installed-") as folder:
        one = Installed(Path(folder), empty_postgres_database)
        yield one
        for process in one.running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_the_units_commands_run_in_production_as_an_unprivileged_user(installation: Installed) -> None:
    serving = installation.start("maillon-serve.service")
    assert installation.get("/healthz").json() == {"status": "alive"}
    assert installation.get("/readyz").status_code == 200
    an_exchange(installation)
    working = installation.start("maillon-work@.service")
    exported = installation.get("/metrics", installation.ports[1]).text
    assert "maillon_delivery_attempts_total" in exported
    processes = whole_metrics(installation)
    assert len(processes) == 2, "the unit asks for two"
    the_kept_counts(installation)
    checked = {one["check"]: one["ok"] for one in json.loads(installation.maillon("doctor").stdout)["checks"]}
    assert {name: checked[name] for name in ("profile", "database", "journal")} == dict.fromkeys(
        ("profile", "database", "journal"), True
    )
    for process in (working, serving):
        process.send_signal(signal.SIGTERM)
    assert [process.wait(60) for process in (working, serving)] == [0, 0], "SIGTERM is an ordinary end"
    logged = [json.loads(line) for one in (serving, working) for line in one.stderr or ()]
    assert {"serving", "delivering"} <= {line["event"] for line in logged}, "every line of every process is JSON"
    owners = {path.stat().st_uid for path in installation.home.rglob("*")}
    assert owners == {65534 if installation.user else os.geteuid()}


def test_a_file_that_a_body_drops_is_read_by_its_unit(installation: Installed) -> None:
    registered(installation, "caf")
    file = installation.dropped / "flux.xml"
    written = installation.maillon("demo-data", "caf", "-o", str(file), "--foyers", "2")
    assert written.returncode == 0, written.stderr
    os.utime(file, (0, 0))
    watching = installation.start("maillon-drop@.service")
    eventually(lambda: [*installation.dropped.glob("archive/*")] or watching.poll() is not None, timeout=60)
    assert watching.poll() is None, watching.stderr and watching.stderr.read()
    watching.send_signal(signal.SIGTERM)
    assert watching.wait(60) in (0, -signal.SIGTERM)


def test_the_demonstration_leaves_nothing_in_a_production_home(installation: Installed) -> None:
    before = {path.name for path in installation.home.iterdir()}
    done = installation.maillon("demo", "--once")
    assert (done.returncode, done.stderr.partition(":")[0]) == (1, "demo-in-production"), done.stderr
    assert {path.name for path in installation.home.iterdir()} == before


def test_a_server_killed_at_once_leaves_no_process_behind(installation: Installed) -> None:
    """As memory or `kill -9` ends it, elsewhere than under systemd: its children held the port, watched by nobody."""
    serving = installation.start("maillon-serve.service")
    assert installation.get("/healthz").status_code == 200
    serving.kill()
    try:
        serving.communicate(timeout=60)  # its log is closed once no process has it
    finally:
        with suppress(ProcessLookupError):
            os.killpg(serving.pid, signal.SIGKILL)
    again = installation.start("maillon-serve.service")
    assert installation.get("/healthz").status_code == 200
    assert again.poll() is None


class ThroughTheProxy(httpx.HTTPTransport):
    """What the reverse proxy does: the issuer's https address, answered by the gateway's port on this machine."""

    def __init__(self, port: int, proto: str) -> None:
        super().__init__()
        self.port, self.proto = port, proto

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self.port)
        request.headers["X-Forwarded-Proto"] = self.proto
        return super().handle_request(request)


def registered(installation: Installed, id: str) -> ECKey:
    """A partner registered by command; its key."""
    key = ECKey.generate_key("P-256", auto_kid=True)
    jwks = installation.home.parent / "etc" / "jwks.json"
    jwks.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    jwks.chmod(0o644)
    done = installation.maillon("partner", "add", id, "--connector", id, "--jwks", str(jwks))
    assert done.returncode == 0, done.stderr
    return key


def an_exchange(installation: Installed) -> None:
    """A partner registered by command sends its first document through the proxy that ends TLS; in clear it may not."""
    issuer, etc = installation.environment["MAILLON_ISSUER"], installation.home.parent / "etc"
    agreement = Path(shutil.copy(FOLDER / "convention.toml", etc))
    agreement.chmod(0o644)
    keys = {id: registered(installation, id) for id in ("caf", "departement", "ccas", "france_travail")}
    done = installation.maillon("convention", "add", str(agreement))
    assert done.returncode == 0, done.stderr

    def sent(proto: str) -> httpx.Response:
        ours = PartnerAuth(issuer, "ccas", keys["ccas"], purpose="accompagnement")
        with httpx.Client(auth=ours, transport=ThroughTheProxy(installation.ports[0], proto), timeout=30) as client:
            return client.post(
                f"{issuer}/v1/exchanges", json={"birthName": "Canari", "firstName": "Rose", "birthDate": "1970-01-02"},
                headers={"Maillon-Document": "ccas.suivi", "Idempotency-Key": "first"},
            )  # fmt: skip

    with pytest.raises(TokenRefused):
        sent("http")
    answer = sent("https")
    assert answer.status_code == 202, answer.text
    assert answer.headers["strict-transport-security"]


def whole_metrics(installation: Installed) -> set[str]:
    """Each answer counts what every process answered, whichever gives it; gives the processes they tell of."""

    def told() -> tuple[float, set[str]]:
        text = installation.get("/metrics").text
        counted = re.findall(r'^maillon_request_seconds_count{door="",status="421"} (\S+)$', text, re.M)
        return sum(map(float, counted)), set(re.findall(r'^process_resident_memory_bytes{pid="(\d+)"}', text, re.M))

    for _ in range(40):
        assert installation.get("/").status_code == 421
    eventually(lambda: told()[0] == 40, timeout=30)
    answers = [told() for _ in range(20)]
    assert {counted for counted, _ in answers} == {40.0}, "a process answers for itself alone"
    return answers[-1][1]


def the_kept_counts(installation: Installed) -> None:
    """Whichever process answers shows what the table holds of the meter, and nothing that is no longer in it."""
    engine = open_engine(installation.environment["MAILLON_DATABASE_URL"])
    for recipient in ("ccas", "departement"):
        counts = json.dumps([{"recipient": recipient, "document": "d", "filled": 7}])
        with engine.begin() as connection:
            connection.execute(delete(meter_reading))
            connection.execute(insert(meter_reading).values(day="9999-12-31", read_at=clock.instant(), counts=counts))
        shown = f'maillon_fields{{document="d",recipient="{recipient}",what="filled"}} 7.0'

        def told(shown: str = shown) -> bool:
            lines = re.findall(r"^maillon_fields{.*filled.*", installation.get("/metrics").text, re.M)
            return lines == [shown]

        eventually(lambda told=told: all(told() for _ in range(10)), timeout=60)
    engine.dispose()


def test_what_an_operator_gets_wrong_is_one_line_that_says_what_to_do(installation: Installed) -> None:
    environment = dict(installation.environment)
    latin = installation.home.parent / "etc" / "latin.toml"
    latin.write_bytes('departement = "é"'.encode("latin-1"))
    for name, value, code, named in (
        ("MAILLON_SETTINGS", str(latin), "settings-invalid", f"{latin}.*UTF-8"),
        ("MAILLON_POLICY_FILE", "/nowhere.toml", "policy-missing", "/nowhere.toml.*MAILLON_POLICY_FILE"),
        ("MAILLON_LEASE", "soon", "settings-invalid", "lease"),
        ("MAILLON_BODIES", '{"caf": {"concurrent": "dix"}}', "settings-invalid", "caf.concurrent"),
        ("MAILLON_BODIES", '{"caf": {"rate": "souvent"}}', "settings-invalid", "caf.rate"),
        ("MAILLON_SETTINGS", "/nowhere.toml", "settings-invalid", "/nowhere.toml"),
        ("MAILLON_DATABASE_URL", "mysql://x:canari@127.0.0.1/x", "settings-invalid", "postgresql"),
        ("MAILLON_DATABASE_URL", "canari", "settings-invalid", "postgresql"),
        ("MAILLON_DATABASE_URL", f"postgresql://x:canari@127.0.0.1:{free_port()}/x", "database-unreachable", "refused"),
    ):
        installation.environment = environment | {name: value}
        done = installation.maillon("outbox", "list")
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert re.fullmatch(rf"{code}: .*{named}.*\n", done.stderr), done.stderr
        assert not {"canari", "soon", "dix", "souvent"} & set(re.findall(r"\w+", done.stderr)), "no value is told"


def test_doctor_names_what_to_do_before_the_first_start_and_blames_no_connector_that_is_not_used(
    installation: Installed,
) -> None:
    installation.environment["MAILLON_PROXYS"] = "127.0.0.1"
    toml = installation.home.parent / "etc" / "maillon.toml"

    def said() -> dict[str, tuple[bool, str]]:
        done = installation.maillon("doctor")
        checks = json.loads(done.stdout)["checks"]
        for one in checks:
            assert f"{one['check']}: {one['detail']}" in done.stderr, "people read the same, brackets included"
        return {one["check"]: (one["ok"], one["detail"]) for one in checks}

    before = said()
    assert before["settings"] == (False, "nothing reads MAILLON_PROXYS: misspelt?")
    assert before["database"][0] is False
    assert "maillon serve" in before["database"][1]
    assert "gateway" not in before, "an empty database is no defect"
    ok, told = before["connector api_particulier"]
    assert ok
    assert "[bodies.api_particulier]" in told
    toml.write_text('[bodies.api_particulier]\nrecipient = "x"\n')
    assert said()["connector api_particulier"] == (False, "under [bodies.api_particulier]: jeton: required setting")


def test_a_half_configured_production_says_all_that_is_missing(installation: Installed) -> None:
    (installation.home / "keys" / "wrap.key").unlink()
    installation.environment.pop("MAILLON_POLICY_TRUSTED")
    installation.environment.pop("MAILLON_PROXIES")
    one = installation.start("maillon-serve.service")
    _, said = one.communicate(timeout=120)
    assert one.returncode
    assert "wrap.key" in said
    assert "MAILLON_PROXIES" in said
    assert "signed" in said


def test_the_administrators_command_reads_what_the_services_read(tmp_path: Path) -> None:
    """Its account is this test's, its folders are in `tmp_path`: another working folder changes nothing."""
    etc, home, away = (tmp_path / name for name in ("etc", "home", "away"))
    for folder in (etc, home, away):
        folder.mkdir()
    script = (DEPLOY / "maillon").read_text()
    for theirs, ours in (
        ("/etc/maillon", etc),
        ("/var/lib/maillon", home),
        ("/opt/maillon/.venv/bin/maillon", MAILLON),
    ):
        assert theirs in unit("maillon-serve.service")["ExecStart"] + (DEPLOY / "maillon-serve.service").read_text()
        script = script.replace(theirs, str(ours))
    account = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    command = tmp_path / "maillon"
    command.write_text(script.replace('" = maillon ]', f'" = {account} ]'))
    (etc / "maillon.env").write_text(f"MAILLON_SETTINGS={etc}/maillon.toml\nMAILLON_PROFILE=test\n")
    (etc / "maillon.toml").write_text("journal_origin = 'mine.example/journal'\n")
    (away / "maillon.toml").write_text("not TOML")
    done = subprocess.run(["sh", command, "journal", "checkpoint"], cwd=away, capture_output=True, text=True)
    assert done.stdout.startswith("mine.example/journal\n"), done.stderr
    assert (home / "journal" / "checkpoint").exists()


def test_the_guides_restore_reads_what_the_services_read(tmp_path: Path) -> None:
    """As it is written in docs/operations.md, but for the account and the folders."""
    etc, home, before = (tmp_path / name for name in ("etc", "home", "before"))
    etc.mkdir()
    gateway = Gateway.open(Settings(profile="test", home=before))
    gateway.publish_journal()
    gateway.engine.dispose()
    environment = {"PATH": os.environ["PATH"], "MAILLON_HOME": str(before)}
    made = subprocess.run([DEPLOY / "backup", tmp_path / "backups"], env=environment, capture_output=True, text=True)
    shutil.copytree(before / "keys", home / "keys")
    (etc / "maillon.env").write_text(f"MAILLON_DATABASE_URL=sqlite:///{home}/maillon.db\n")
    guide = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"(runuser -u maillon -- sh -c '[^']*restore FOLDER/<date>')", guide)
    for theirs, ours in (
        ("runuser -u maillon -- ", ""),
        ("/etc/maillon", str(etc)),
        ("/var/lib/maillon", str(home)),
        ("/opt/maillon/deploy", str(DEPLOY)),
        ("FOLDER/<date>", made.stdout.strip()),
    ):
        assert theirs in command
        command = command.replace(theirs, ours)
    database = Path(made.stdout.strip(), "maillon.db")
    database.rename(tmp_path / "away")

    def restored() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sh", "-c", command], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)

    assert restored().returncode
    (tmp_path / "away").rename(database)
    done = restored()
    assert done.returncode == 0, f"what failed can be begun again: {done.stderr}"
    assert (home / "journal" / "checkpoint").exists()
    assert (home / "maillon.db").exists()


def test_the_proxy_lets_through_the_file_that_the_console_takes() -> None:
    conf = (DEPLOY / "nginx.conf").read_text()
    limit = re.search(rf"location = {trials.FILES}/essai {{\s+client_max_body_size (\d+)m;", conf)
    assert limit
    assert int(limit[1]) << 20 > trials.MAX_UPLOAD
    general = re.search(r"^    client_max_body_size (\d+)m;", conf, re.M)
    assert general
    assert int(general[1]) << 20 > MAX_BODY


# What is watched


def test_every_metric_that_is_watched_is_exported() -> None:
    """Dashboard and alerts against what the processes export; in a process of its own, as the registry is one."""
    program = (
        "from gateway import app, commands, delivery_metrics, worker\n"
        "from prometheus_client import REGISTRY\n"
        "for family in REGISTRY.collect():\n"
        "    print(family.name, family.type)\n"
        "for collector in REGISTRY._collector_to_names:\n"
        "    print(*getattr(collector, '_labelnames', getattr(collector, '_labels', ())))\n"
        "print(*sorted(REGISTRY._names_to_collectors))\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    exported = set(said.stdout.split())
    dashboard = (DEPLOY / "grafana-dashboard.json").read_text()
    watched = set(re.findall(r"maillon_\w+", dashboard.replace("maillon-livraisons", "")))
    watched |= set(re.findall(r"maillon_\w+", (DEPLOY / "alerts.yml").read_text()))
    assert watched
    assert watched <= exported, watched - exported
    assert {"recipient", "task", "what"} <= exported, "labels are among them"
    taken = {"job", "instance"} & exported
    assert not taken, f"Prometheus gives these labels to what it scrapes, and renames ours: {taken}"


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian's prometheus) is not installed")
def test_each_alert_fires_on_what_it_is_for(tmp_path: Path) -> None:
    tests = (Path(__file__).parent / "alerts.test.yml").read_text()
    rules = (DEPLOY / "alerts.yml").read_text()
    named = set(re.findall(r"alertname: (\w+)", tests))
    assert named == set(re.findall(r"- alert: (\w+)", rules))
    (tmp_path / "alerts.yml").write_text(rules)
    (tmp_path / "alerts.test.yml").write_text(tests)
    done = subprocess.run(
        ["promtool", "test", "rules", "alerts.test.yml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_and_the_alerts_are_well_formed() -> None:
    yaml = pytest.importorskip("yaml")
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    (group,) = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    operations = (ROOT / "docs" / "operations.md").read_text()
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("page", "warning")
        assert rule["alert"] in operations, f"the guide says what to do first about {rule['alert']}"
        expressions.append(rule["expr"])
    for one in expressions:
        for opening, closing in ("()", "{}", "[]"):
            assert one.count(opening) == one.count(closing), one


def test_the_container_copies_what_the_package_needs_and_runs_what_the_units_run() -> None:
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    for folder in ("schemas", "mappings", "connectors", "gateway", "requirements.lock", "pyproject.toml"):
        assert folder in copied
        assert (ROOT / folder).exists()
    (entry,) = [json.loads(line.partition(" ")[2]) for line in lines if line.startswith("ENTRYPOINT")]
    (command,) = [json.loads(line.partition(" ")[2]) for line in lines if line.startswith("CMD")]
    assert [*entry, command[0]] == [MAILLON.name, "serve"]
    assert next(line for line in lines if line.startswith("USER")) != "USER root"


# Logs


def test_a_library_that_logs_what_it_was_sent_is_heard_without_the_values() -> None:
    """In a process of its own, as each command configures its log."""
    program = (
        "import logging, warnings\n"
        "from gateway import logs\n"
        "import structlog\n"
        "logs.configure()\n"
        "structlog.contextvars.bind_contextvars(instance='urn:uuid:1')\n"
        "structlog.get_logger().error('ours', code='c')\n"
        "logging.getLogger('uvicorn.error').warning('Cannot read %s', 'CANARI')\n"
        "try:\n"
        "    raise ValueError('CANARI')\n"
        "except ValueError:\n"
        "    logging.getLogger('asyncio').exception('Task failed')\n"
        "warnings.warn('CANARI', UserWarning)\n"
        "logging.getLogger('x').info('not said')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["ours", "library", "library", "library"]
    assert [line.get("said") for line in lines] == [None, "Cannot read %s", None, None]
    assert [line.get("kind") for line in lines] == [None, None, "ValueError", None]
    assert [line.get("logger") for line in lines] == [None, "uvicorn.error", "asyncio", "py.warnings"]
    assert {line["instance"] for line in lines} == {"urn:uuid:1"}
    assert all({"timestamp", "level"} <= set(line) for line in lines)
    assert "CANARI" not in done.stderr
