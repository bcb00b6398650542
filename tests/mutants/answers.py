"""Mutants of what a client is told, and of what is told to nobody."""

from __future__ import annotations

from .mutant import Mutant

_TRUE = "eager/test_true_answers.py::"

ANSWERS = (
    # ---- whether it was accepted
    Mutant(
        "a lost begin keeps its name though its key can't be asked for",
        "atomic_commit/coordinator.py",
        "            if isinstance(error, Lost) and error.transaction:",
        "            if False:",
        _TRUE + "test_one_that_is_committed_while_its_database_goes_away_for_long_is_never_said_not_to_be",
    ),
    Mutant(
        "a key whose owner can't be read is known to have one",
        "atomic_commit/coordinator.py",
        "            if isinstance(error, IntegrityError):",
        "            if False:",
        _TRUE + "test_a_key_whose_owner_cannot_be_read_is_not_said_to_have_done_nothing",
    ),
    Mutant(
        "a refusal counts only where the key's owner could be asked for",
        "atomic_commit/coordinator.py",
        "            raise\n\n    def _set_out(",
        "            return None\n\n    def _set_out(",
        _TRUE + "test_one_that_is_refused_because_of_its_own_first_try_is_not_said_to_be_refused",
    ),
    Mutant(
        "nothing that goes wrong hides that a begin may have happened",
        "atomic_commit/acceptance.py",
        "            except Exception as again:",
        "            except (Lost, Conflict) as again:",
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
        "atomic_commit/coordinator.py",
        '        except Exception:\n            log.exception("transaction %s is accepted',
        '        except MemoryError:\n            log.exception("transaction %s is accepted',
        _TRUE + "test_one_that_is_accepted_is_said_to_be_whatever_goes_wrong_with_sending_it",
    ),
    Mutant(
        "after begin's commit nothing raises: noting that it was not sent",
        "atomic_commit/attempts.py",
        "        except Exception as error:  # a pool",
        "        except MemoryError as error:  # a pool",
        _TRUE + "test_one_that_is_accepted_is_said_to_be_though_the_broker_and_every_connection_are_gone",
    ),
    Mutant(
        "what goes wrong with those who wait is not raised to who decides",
        "atomic_commit/coordinator.py",
        '        except Exception:\n            log.exception("%s: who waits',
        '        except MemoryError:\n            log.exception("%s: who waits',
        _TRUE + "test_what_goes_wrong_with_somebody_else_is_no_failure_of_the_one_that_decides",
    ),
    # ---- a database that only reads
    Mutant(
        "a database that only reads is away, for the protocol",
        "atomic_commit/errors.py",
        '_LOST = ("57P", "08", "25006")',
        '_LOST = ("57P", "08")',
        _TRUE + "test_a_participant_whose_database_only_reads_is_asked_again_until_it_writes",
    ),
    Mutant(
        "a database that only reads is away, for local calls",
        "http_api/problems.py",
        " or is_lost(error):",
        ":",
        _TRUE + "test_a_coordinator_whose_database_only_reads_accepts_nothing_says_so_and_is_read",
    ),
)
