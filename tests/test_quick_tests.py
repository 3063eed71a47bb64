"""The search for slow tests: `make quick` runs what is left."""

import subprocess

import generated
import pytest
from generated import Library
from models import random_checkpoint
from slow import reaches


class Named(Library):
    """A class of a test's own, whose base compiles."""


class Starts:
    def begin(self):
        return subprocess.run


def by_a_name():
    return Library


def by_a_module():
    return generated


def by_an_attribute():
    return subprocess.run


def by_an_import_of_its_own():
    from llgen.trainer.run import train

    return train


def by_a_function():
    return by_an_attribute()


def by_a_lambda():
    return lambda: by_a_name


def by_a_base():
    return Named


def by_a_method():
    return Starts


def circle():
    return circle()


def by_nothing():
    return random_checkpoint()


WAYS = [by_a_name, by_a_module, by_an_attribute, by_an_import_of_its_own, by_a_function, by_a_lambda, by_a_base]


@pytest.mark.parametrize("function", [*WAYS, by_a_method])
def test_what_reaches_a_compiler_or_training_is_slow(function):
    assert reaches(function)


@pytest.mark.parametrize("function", [by_nothing, circle, len])
def test_what_does_not_is_quick(function):
    assert not reaches(function)


def test_a_quick_test_that_starts_a_process_fails():
    run = globals()["subprocess"].run  # so that the search does not see it
    with pytest.raises(pytest.fail.Exception, match="takes this test for a quick one"):
        run(["true"], check=True)
