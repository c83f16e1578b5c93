"""The pages about the installation, typed line by line on a machine of their own.

A mount namespace with its own /etc, /opt, /var and /run, a user pink, real venvs from a real wheel,
a real supervisord, and a local exchange in the place of BingX.  systemd is played by the few lines
that start and stop what its unit names; nothing of the pages is left out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.exchange_process import KEY, SECRET, RunningExchange, running

ROOT = Path(__file__).parent.parent.parent
PAGES = ("install", "rotate", "upgrade", "move")
SITE = next(p for p in sys.path if p.endswith("site-packages"))
TOOLS = ("unshare", "useradd", "runuser", "mount")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0
    or not all(map(shutil.which, TOOLS))
    or subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0,
    reason="a mount namespace needs root",
)

#: What the machine is made of before the first line is typed.  $WORK is a folder of the test's own.
MACHINE = r"""
set -eu
mount -t tmpfs tmpfs $WORK/layers
for folder in etc opt var srv usr/local; do
    mkdir -p $WORK/layers/$folder/upper $WORK/layers/$folder/work
    mount -t overlay overlay /$folder \
        -o lowerdir=/$folder,upperdir=$WORK/layers/$folder/upper,workdir=$WORK/layers/$folder/work
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/work && mount --bind $WORK /run/work  # where everybody may enter
WORK=/run/work
home=${HOME:-/root}
if [ -d $home/.pyenv ]; then  # an interpreter that only root may reach
    mkdir $WORK/pyenv && mount --bind $home/.pyenv $WORK/pyenv
    mount -t tmpfs -o mode=755 tmpfs $home && mkdir $home/.pyenv
    mount --move $WORK/pyenv $home/.pyenv
fi
export PATH=$WORK/bin:/opt/pink/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PIP_NO_INDEX=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
cd $WORK/wheel

# What pip would fetch is found beside: the packages of the tests, none of them pink-ctl itself.
python3() {
    "$PYTHON" "$@"
    site=$("$PYTHON" -c 'import sysconfig as s; print(s.get_path("purelib", vars={"base": ""}))')
    echo "$WORK/packages" > "$3$site/beside.pth"
    for name in supervisord supervisorctl; do
        printf '#!/bin/sh\nexec %s -m supervisor.%s "$@"\n' "$3/bin/python" $name > "$3/bin/$name"
        chmod 755 "$3/bin/$name"
    done
}
# "After some seconds": a look is repeated until it succeeds.
patiently() {
    for _ in $(seq 120); do
        if "$@" > $WORK/look 2>&1; then cat $WORK/look; return 0; fi
        sleep 0.25
    done
    cat $WORK/look >&2
    return 1
}
"""

SUDO = '#!/bin/sh\nshift\nuser=$1\nshift\nexec runuser -u "$user" -- "$@"\n'

SYSTEMCTL = r"""#!/bin/sh
# As much of systemd as the pages use: one unit, started and stopped as it says.
unit=/etc/systemd/system/pink.service
value() { sed -n "s/^$1=//p" $unit; }
start() {
    install -d -o $(value User) -g $(value Group) -m $(value RuntimeDirectoryMode) /run/pink
    setsid runuser -u $(value User) -- env -i PATH=/usr/bin:/bin $(value ExecStart) \
        > /dev/null 2>&1 < /dev/null &
    echo $! > /run/pink.pid
}
stop() {
    pid=$(cat /run/pink/supervisord.pid)
    kill $pid
    while kill -0 $pid 2>/dev/null; do sleep 0.1; done
}
case $1 in
    daemon-reload) test -f $unit ;;
    enable|start) start ;;
    stop) stop ;;
    restart) stop; start ;;
esac
"""


def steps(page: str) -> Iterator[tuple[str, list[str]]]:
    """Heading and lines of each block of a page that is typed."""
    heading = ""
    text = (ROOT / "runbooks" / f"{page}.md").read_text(encoding="utf-8")
    for part in re.split(r"(?m)^## ", text)[1:]:
        heading = part.splitlines()[0]
        for block in re.findall(r"(?ms)^```sh\n(.*?)^```$", part):
            yield heading, block.splitlines()


def script(page: str, exchange: RunningExchange) -> str:
    """The page as a shell script: the lines as they stand, and what a person does in between."""
    lines: list[str] = []
    for heading, block in steps(page):
        lines.append(f"echo '== {page}: {heading}' >&2")
        looks = heading.endswith("Look")
        for line in block:
            typed = line
            if re.match(r"cat > \S*key(\.new)?$", line):
                typed = f"echo {KEY} | {line}"
            elif re.match(r"cat > \S*secret(\.new)?$", line):
                typed = f"echo {SECRET} | {line}"
            elif looks and line.startswith("sudo"):
                typed = f"patiently {line}"
            lines.append(typed)
        if (page, heading[0]) == ("install", "3"):  # "change what is not yours"
            lines += [
                f'sed -i \'s|^api_key|rest_url = "{exchange.rest}"\\napi_key|;'
                f' s|^api_secret|stream_url = "{exchange.stream}"\\napi_secret|\''
                " /etc/pink/pink-vst.toml"
            ]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built as the page says."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(folder), str(ROOT)], check=True, timeout=300)
    return folder


@pytest.fixture
def work(tmp_path: Path, wheel: Path) -> Path:
    """What the machine gets from outside."""
    tmp_path.chmod(0o755)
    for name in ("layers", "bin", "packages"):
        (tmp_path / name).mkdir()
    shutil.copytree(wheel, tmp_path / "wheel")
    shutil.copy(ROOT / "requirements" / "serve.txt", tmp_path / "wheel")
    for name, text in (("sudo", SUDO), ("systemctl", SYSTEMCTL)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    for path in Path(SITE).iterdir():
        if "pink" not in path.name and path.name != "__pycache__":
            (tmp_path / "packages" / path.name).symlink_to(path)
    return tmp_path


LOOK = "patiently sudo -u pink pink-ctl status"
ENTER = (
    "patiently sudo -u pink pink-ctl intent enter --trade T1 --asset FET-USDT --side LONG"
    ' --quantity 500 --reason "by hand" --apply'
)


@pytest.mark.skipif(os.environ.get("DITA_TESTS") != "long", reason="a minute and a half")
def test_every_line_of_the_pages_works_in_its_order(work: Path) -> None:
    """Install, rotate, upgrade, go back, move: one story, with a position open all the while."""
    with running("--still") as exchange:
        story = [MACHINE, script("install", exchange), LOOK, ENTER]
        for page in PAGES[1:]:
            story += [script(page, exchange), LOOK]
        story += ["systemctl stop pink", "echo DONE >&2"]
        path = work / "story.sh"
        path.write_text("\n".join(story))
        environ = {"WORK": str(work), "PYTHON": os.path.realpath(sys.executable), "HOME": "/root"}
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", str(path)],
            env=environ, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-4_000:]
        assert done.stderr.rstrip().endswith("DONE")
        (position,) = exchange.book()["positions"]
        assert (position["symbol"], position["quantity"]) == ("FET-USDT", "500")
        assert done.stdout.count("sound: ") == 3
        same = re.findall(r"(?m)^(\d+ inputs replayed, state \w+)$", done.stdout)
        assert same[-1] == same[-2]


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    """Its own word on it, but for programs that are not there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd here")
    unit = (ROOT / "configs" / "pink.service").read_text(encoding="utf-8")
    path = tmp_path / "pink.service"
    path.write_text(re.sub(r"/opt/pink/bin/\w+", "/bin/true", unit))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
