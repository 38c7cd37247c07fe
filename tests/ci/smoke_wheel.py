"""A smoke run of an installed wheel: headless against a simulated engine, one completion, SIGTERM, exit code 0.

Run by CI with the Python of a virtualenv that holds nothing but the wheel, from a folder outside the checkout.
"""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

DEADLINE_S = 30.0


def main() -> None:
    import gateway

    assert "site-packages" in gateway.__file__, gateway.__file__
    themes = Path(gateway.__file__).parents[1] / "smg_console" / "themes"
    assert list(themes.glob("*.toml")), f"no themes in {themes}"
    engine = subprocess.Popen(
        [sys.executable, "-m", "gateway.simulator", "--port", "0", "--engine", "vllm", "--instant"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert engine.stdout is not None
        url = engine.stdout.readline().split()[-1]
        run_against(url)
    finally:
        engine.terminate()
        engine.wait(10)
    print("smoke run passed")


def run_against(url: str) -> None:
    command = [str(Path(sys.executable).with_name("smg-console")), "--no-ui", "--log-json"]
    options = ["--worker-urls", url, "--host", "127.0.0.1", "--port", "0", "--prometheus-port", "0"]
    gateway = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    try:
        assert gateway.stderr is not None
        address = ""
        for line in gateway.stderr:
            event = json.loads(line)
            if event["event"] == "gateway_listening":
                address = event["address"]
                break
        print("gateway listens on", address)
        print("answer:", complete(address))
        gateway.send_signal(signal.SIGTERM)
        code = gateway.wait(15)
        assert code == 0, f"exit code {code}"
    finally:
        if gateway.poll() is None:
            gateway.kill()


def complete(address: str) -> str:
    body = json.dumps({"model": "", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8})
    until = time.monotonic() + DEADLINE_S
    while True:
        try:
            with urllib.request.urlopen(f"{address}/v1/models", timeout=5) as answer:
                model = json.load(answer)["data"][0]["id"]
            request = urllib.request.Request(
                f"{address}/v1/chat/completions",
                data=json.dumps({**json.loads(body), "model": model}).encode(),
                headers={"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=5) as answer:
                return str(json.load(answer)["choices"][0]["message"]["content"])
        except (urllib.error.URLError, IndexError):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    main()
