"""What a pod may do beyond the ``restricted`` Pod Security level, each said by name."""

from __future__ import annotations

from dataclasses import dataclass, fields

from bulkhead import arguments


@dataclass(frozen=True)
class Relaxations:
    """What a pod may do beyond the level.

    Attributes:
        run_as_root: containers may run as root.
        writable_root: the root file system may be written to.
        privilege_escalation: a process may gain more privileges than its parent.
        capabilities: Linux capabilities that may be added; ``ALL`` is dropped all the same.
        unconfined_seccomp: another seccomp profile than ``RuntimeDefault`` may be named.
        service_account_token: the pod may get a token of its service account.
        no_deadline: the pod may run for ever.
    """

    run_as_root: bool = False
    writable_root: bool = False
    privilege_escalation: bool = False
    capabilities: tuple[str, ...] = ()
    unconfined_seccomp: bool = False
    service_account_token: bool = False
    no_deadline: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name != "capabilities":
                arguments.switch(f"relax.{field.name}", getattr(self, field.name))
        arguments.texts("relax.capabilities", self.capabilities)
