"""Mutants of what keeps people's commands and unreadable messages from stopping workers, and of Flower's history."""

from __future__ import annotations

from .mutant import Mutant

_CONTROL = "broker/operating/test_remote_control.py::"
_COMMAND = _CONTROL + "test_a_command_keeps_nothing_from_settling"
_MALFORMED = "broker/messages/test_malformed.py::"
_FORM = "unit/messages/test_message_form.py::"

REMOTE = (
    Mutant(
        "remote control: a worker refuses what can only harm",
        "engine/src/atomic_commit/workers/remote_control.py",
        "if method in ANSWERED or not answers_only():",
        "if True:",
        _COMMAND + "[redis-cancel_consumer]",
    ),
    Mutant(
        "remote control: an instruction that can't be carried out is kept for a person",
        "engine/src/atomic_commit/workers/message_form.py",
        '    _wanted("instruction", body.keys() <= _INSTRUCTION.keys(), "unknown fields")\n',
        "",
        _FORM + "test_an_instruction_that_cannot_be_carried_out_or_answered_is_not_read",
    ),
    Mutant(
        "remote control: a clock that is nobody's is not taken over",
        "engine/src/atomic_commit/workers/message_form.py",
        "(_is_whole(clock) and 0 <= clock < _CLOCKS)",
        "True",
        _FORM + "test_a_clock_that_is_nobodys_is_not_taken_over",
    ),
    Mutant(
        "Flower does nothing but show",
        "celery_config/monitor.py",
        "default_options.read_only = True",
        "default_options.read_only = False",
        _CONTROL + "test_flower_does_nothing_but_show",
    ),
    Mutant(
        "Flower's history outlasts its restarts",
        "embedded/services.py",
        '"--persistent=True"',
        '"--persistent=False"',
        "broker/operating/test_flower.py::test_flowers_history_outlasts_its_restarts[redis]",
    ),
    Mutant(
        "Flower waits for workers that are still starting",
        "celery_config/monitor.py",
        "                return\n        except Exception as error:  # a broker",
        "                pass\n        except Exception as error:  # a broker",
        "broker/operating/test_flower.py::test_flower_says_nothing_alarming_when_it_starts_before_the_workers[redis]",
    ),
    Mutant(
        "unreadable messages: a task's message is looked at before Celery takes it apart",
        "engine/src/atomic_commit/workers/consumer.py",
        "                assert_task(message, self.strategies)\n",
        "                pass\n",
        _MALFORMED + "test_what_cannot_be_read_is_kept_and_said_once[redis-a time limit of x]",
    ),
    Mutant(
        "unreadable messages: an element of a list is looked at before kombu takes it apart",
        "engine/src/atomic_commit/workers/consumer.py",
        "            try:\n                assert_envelope(item)\n",
        "            try:\n                pass\n",
        _MALFORMED + "test_hundreds_of_malformed_messages_move_nobody[redis]",
    ),
    Mutant(
        "unreadable messages: they are said once",
        "engine/src/atomic_commit/workers/seldom.py",
        "            return False\n",
        "            return True\n",
        _MALFORMED + "test_what_cannot_be_read_is_kept_and_said_once[redis-42]",
    ),
    Mutant(
        "unreadable messages: the shelf is bounded",
        "engine/src/atomic_commit/workers/unreadable.py",
        "                together.ltrim(self._key, 0, KEPT - 1)\n",
        "",
        _MALFORMED + "test_the_shelf_is_bounded[redis]",
    ),
    Mutant(
        "unreadable messages: they are acknowledged",
        "engine/src/atomic_commit/workers/consumer.py",
        "then=lambda: self.call_soon(self._acknowledge, message)",
        "then=lambda: None",
        _MALFORMED + "test_what_cannot_be_read_is_kept_and_said_once[redis-an unknown task]",
    ),
)
