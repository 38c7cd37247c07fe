"""What can be set about the SSH server that opens the console: where it listens, who may log in, and its limits."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gateway.settings.fields import Host, Port, setting

GROUP = "SSH"


def _number(value: Any) -> Any:
    if isinstance(value, bool):  # TOML's `true` is not the port 1
        raise ValueError("expected a whole number from 0 to 65535")
    return value


def _file(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise ValueError("expected a file")
    return value


File = Annotated[Path, BeforeValidator(_file)]


class SshSettings(BaseModel):
    """`ssh_port` switches it on; the others say how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ssh_port: Annotated[Port | None, BeforeValidator(_number)] = setting(
        None, GROUP, "Serve this console to SSH clients on this port; 0: any free one.", "PORT"
    )
    ssh_host: Host | None = setting(None, GROUP, "Address of the SSH server (default: --host).", "HOST")
    ssh_authorized_keys: File | None = setting(
        None,
        GROUP,
        'Public keys that may log in, with role="operator" or another before each '
        "(default: ~/.config/smg-console/authorized_keys).",
        "FILE",
    )
    ssh_host_key: File | None = setting(
        None,
        GROUP,
        "The server's own key, made if it is not there (default: ~/.local/state/smg-console/ssh_host_ed25519_key).",
        "FILE",
    )
    ssh_max_sessions: Annotated[int, Field(ge=1, le=1000)] = setting(
        32, GROUP, "SSH sessions open at once; further ones are refused.", "N"
    )
    ssh_max_unauthenticated: Annotated[int, Field(ge=1, le=1000)] = setting(
        32, GROUP, "SSH connections that have not logged in yet; further ones are closed.", "N"
    )
    ssh_login_timeout_secs: Annotated[float, Field(ge=1, le=600)] = setting(
        20.0, GROUP, "How long logging in may take.", "SECS"
    )
    ssh_keepalive_secs: Annotated[float, Field(ge=0, le=3600)] = setting(
        15.0, GROUP, "Silence after which a client is asked for a sign; after three it is dropped. 0: never.", "SECS"
    )
