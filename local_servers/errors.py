"""What can go wrong before or while an application starts. A message is what the person at the terminal reads."""


class LocalServersError(Exception):
    """The machine is not as the launcher needs it. The message says what, where, and how to fix it."""

    exit_code = 2


class StartFailed(LocalServersError):
    """A process of the application ended, or was not ready in time. The message ends with what it said last."""

    exit_code = 1


class Interrupted(LocalServersError):
    """Somebody asked to stop while the application was still starting. What was started is stopped again."""

    exit_code = 0
