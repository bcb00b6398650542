"""Mutants of what a client is told, and of what is told to nobody."""

from __future__ import annotations

from .mutant import Mutant

_TRUE = "eager/http_api/test_true_answers.py::"
_RELEASES = "eager/deployment/test_other_releases.py::"
_DEFECTS = "eager/recovery/test_defects.py::"
_ONCE = _DEFECTS + "test_what_cannot_succeed_is_a_500_with_its_transaction_after_one_attempt"

ANSWERS = (
    # ---- whether it was accepted
    Mutant(
        "a lost begin keeps its name though its key can't be asked for",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        "            if isinstance(error, Lost) and error.transaction:",
        "            if False:",
        _TRUE + "test_one_that_is_committed_while_its_database_goes_away_for_long_is_never_said_not_to_be",
    ),
    Mutant(
        "a key whose owner can't be read is known to have one",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        "            if isinstance(error, IntegrityError):",
        "            if False:",
        _TRUE + "test_a_key_whose_owner_cannot_be_read_is_not_said_to_have_done_nothing",
    ),
    Mutant(
        "a refusal counts only where the key's owner could be asked for",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        "            raise\n\n    def _set_out(",
        "            return None\n\n    def _set_out(",
        _TRUE + "test_one_that_is_refused_because_of_its_own_first_try_is_not_said_to_be_refused",
    ),
    Mutant(
        "nothing that goes wrong hides that a begin may have happened",
        "engine/src/atomic_commit/coordinator/lost_begin.py",
        "        except Exception as again:",
        "        except (Lost, Conflict) as again:",
        _TRUE + "test_whatever_else_goes_wrong_with_the_question_whether_it_was_accepted_is_no_answer_to_it",
    ),
    Mutant(
        "a 404 is not said to be final",
        "http_api/distributed.py",
        "until then, and if it has not, the answer there is 404.",
        "404 means that it did not.",
        _TRUE + "test_a_404_for_one_that_nobody_knows_of_yet_may_become_its_answer_and_is_not_said_to_be_final",
    ),
    Mutant(
        "a refusal stands though the transaction in the way can't be read",
        "http_api/distributed.py",
        "        found = atomic.find(transaction)\n    except Exception as error:",
        "        found = atomic.find(transaction)\n    except MemoryError as error:",
        _TRUE + "test_a_refusal_stands_though_the_transaction_in_the_way_cannot_be_read",
    ),
    # ---- once it is accepted
    Mutant(
        "after begin's commit nothing raises: sending",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        '        except Exception:\n            log.exception("transaction %s is accepted',
        '        except MemoryError:\n            log.exception("transaction %s is accepted',
        _TRUE + "test_one_that_is_accepted_is_said_to_be_whatever_goes_wrong_with_sending_it",
    ),
    Mutant(
        "after begin's commit nothing raises: noting that it was not sent",
        "engine/src/atomic_commit/coordinator/attempts.py",
        "        except Exception as error:  # a pool",
        "        except MemoryError as error:  # a pool",
        _TRUE + "test_one_that_is_accepted_is_said_to_be_though_the_broker_and_every_connection_are_gone",
    ),
    Mutant(
        "what goes wrong with those who wait is not raised to who decides",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        '        except Exception:\n            log.exception("%s: who waits',
        '        except MemoryError:\n            log.exception("%s: who waits',
        _TRUE + "test_what_goes_wrong_with_somebody_else_is_no_failure_of_the_one_that_decides",
    ),
    # ---- a database that only reads
    Mutant(
        "a database that only reads is away, for the protocol",
        "engine/src/atomic_commit/errors.py",
        '_LOST = ("57P", "08", "25006")',
        '_LOST = ("57P", "08")',
        _TRUE + "test_a_participant_whose_database_only_reads_is_asked_again_until_it_writes",
    ),
    Mutant(
        "a database that only reads is away, for local calls",
        "http_api/problem_handlers.py",
        " or is_lost(error):",
        ":",
        _TRUE + "test_a_coordinator_whose_database_only_reads_accepts_nothing_says_so_and_is_read",
    ),
    # ---- what can't succeed
    Mutant(
        "what can't succeed is final",
        "engine/src/atomic_commit/votes.py",
        "FINAL = frozenset({Cause.REFUSED, Cause.REVOKED, Cause.DEFECT})",
        "FINAL = frozenset({Cause.REFUSED, Cause.REVOKED})",
        _ONCE,
    ),
    Mutant(
        "a database's error that can't heal is known as such to the coordinator",
        "engine/src/atomic_commit/postgres/database.py",
        "        if is_defect(error):",
        "        if False:",
        _ONCE,
    ),
    Mutant(
        "an error that is answered to the decision's COMMIT is a no",
        "engine/src/atomic_commit/coordinator/decide.py",
        "            except Exception as error:  # answered",
        "            except MemoryError as error:  # answered",
        _ONCE,
    ),
    Mutant(
        "a defect that several met together is not final for any of them",
        "engine/src/atomic_commit/coordinator/decide.py",
        "        return ballot.beside_others() if attempt.shared else ballot",
        "        return ballot",
        _DEFECTS + "test_a_defect_of_one_who_shares_an_attempt_is_not_the_end_of_the_others",
    ),
    Mutant(
        "what may pass is no defect",
        "engine/src/atomic_commit/errors.py",
        "    return isinstance(error, (Defect, *_PROGRAM_ERRORS)) and not is_transport_error(error)",
        "    return True",
        _DEFECTS + "test_what_may_pass_still_has_its_few_attempts",
    ),
    Mutant(
        "the words of a fault are not for clients: cause",
        "http_api/transactions.py",
        '    if kind == "refused":',
        "    if True:",
        _ONCE,
    ),
    Mutant(
        "the words of a fault are not for clients: error",
        "http_api/transactions.py",
        "if error and error.startswith(UNEXPECTED) else error",
        "if False else error",
        _DEFECTS + "test_the_words_of_an_error_that_nobody_expects_are_in_the_listing_and_not_in_public",
    ),
    Mutant(
        "the words of a fault are not for clients: readiness",
        "http_api/health.py",
        """ "failed: it can't be asked; the log says why\"""",
        ' f"failed: {type(error).__name__}"',
        _DEFECTS + "test_a_check_that_fails_tells_its_words_to_the_log",
    ),
    Mutant(
        "words of the database are not for clients: conflicts",
        "http_api/distributed.py",
        "    return type(conflict) is Conflict and conflict.__cause__ is None",
        "    return True",
        "eager/protocol/test_refusals.py::test_a_begin_that_meets_a_locked_row_waits_for_lock_timeout_and_says_so",
    ),
    # ---- messages of another release
    Mutant(
        "a message of another release is a conflict: its fields",
        "engine/src/atomic_commit/wire/other_releases.py",
        "        except TypeError as error:",
        "        except MemoryError as error:",
        _RELEASES + "test_a_message_whose_fields_are_others_is_a_conflict",
    ),
    Mutant(
        "a message of another release is a conflict: how they are spelled",
        "engine/src/atomic_commit/wire/other_releases.py",
        "    except ValueError as error:",
        "    except MemoryError as error:",
        _RELEASES + "test_a_message_whose_fields_are_others_is_a_conflict",
    ),
    Mutant(
        "a message of another release is a conflict: what was handed on",
        "engine/src/atomic_commit/wire/other_releases.py",
        " or value.keys() != names",
        "",
        _RELEASES + "test_what_was_handed_on_by_another_release_is_a_conflict",
    ),
    Mutant(
        "a message of another release is a conflict: values that nobody gave",
        "engine/src/atomic_commit/declare.py",
        '            raise Conflict(f"{self.name} needs',
        '            raise TypeError(f"{self.name} needs',
        _RELEASES + "test_values_that_nobody_gave_are_a_conflict",
    ),
    Mutant(
        "a message of another release is a conflict: the last result",
        "engine/src/atomic_commit/coordinator/decide.py",
        '        return read_handed_on(last)["members"]',
        '        return last["members"]',
        _RELEASES + "test_a_decider_whose_last_result_is_another_releases_tries_again",
    ),
    Mutant(
        "a message of another release is a conflict: a cause",
        "engine/src/atomic_commit/votes.py",
        " if said in _CAUSES else Cause.CONFLICT",
        "",
        _RELEASES + "test_a_cause_of_another_release_is_tried_again",
    ),
)
