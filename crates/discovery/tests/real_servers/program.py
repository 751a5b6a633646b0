"""The program that checks: `vmcp-status run`."""

import json
import signal
import subprocess
from pathlib import Path

from process import Failed


class Program:
    """Checks one backend each second until the block ends."""

    def __init__(self, program: Path, url: str, work: Path):
        config, self.state, self.log = work / "vmcp.yaml", work / "vmcp.json", work / "program.log"
        # YAML takes JSON.
        config.write_text(json.dumps({"interval": "1s", "backends": [{"name": "real", "url": url}]}))
        log = ["--log-level", "warn,vmcp_status_discovery=debug", "--log-format", "json"]
        self.command = [str(program), "--state-dir", str(work), *log, "run", "-c", str(config)]

    def once(self):
        """Checks once, in a process of its own."""
        subprocess.run([*self.command, "--once"], capture_output=True, timeout=60)

    def __enter__(self):
        with self.log.open("w") as log:
            self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=log)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def shut_down(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(30) != 0:
            raise Failed(f"the program exited with {self.process.returncode}: {self.log.read_text()}")

    def checks(self) -> list[dict]:
        """What each check has found."""
        return [line for line in self._logged() if line["message"] == "checked"]

    def warnings(self) -> list[dict]:
        return [line for line in self._logged() if line["level"] in ("WARN", "ERROR")]

    def _logged(self) -> list[dict]:
        # The last line may not be all there yet.
        return [json.loads(line) for line in self.log.read_text().split("\n")[:-1]]

    def backend(self) -> dict:
        """As it is reported."""
        return json.loads(self.state.read_text())["status"]["discoveredBackends"][0]
