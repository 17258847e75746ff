"""Collections whose answers are known: worlds of labels and words, and a cascade over them to its end."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from ictc.inference.cascade import Aim, Inferred, ask_and_infer
from ictc.inference.inputs import Inputs, Question, read_inputs

Answers = npt.NDArray[np.int64]
World = tuple[list[Question], Answers]
"""Inputs and what the model says of each."""


def key_of(name: object) -> str:
    return blake2b(str(name).encode(), digest_size=8).hexdigest()


def draw_world(rng: np.random.Generator, num_images: int, whims: float, *, num_labels: int = 12) -> World:
    """Return a world in which a label tells the answer, but for a share of images of which nothing does."""
    labels = rng.integers(num_labels, size=num_images)
    answers = np.where(rng.random(num_images) < whims, rng.integers(4, size=num_images), labels % 4)
    words = rng.integers(40, size=(num_images, 4))
    return [make_question(image, labels[image], words[image]) for image in range(num_images)], answers


def make_question(image: int, label: int, words: Answers) -> Question:
    return Question(key_of(image), label=f"label{label}", text=" ".join(f"w{word}" for word in words))


def without_information(rng: np.random.Generator, num_images: int) -> World:
    """Return a world in which neither labels nor words say anything of the answers."""
    questions, _ = draw_world(rng, num_images, 1.0)
    return questions, rng.integers(3, size=num_images)


def one_image_a_label(rng: np.random.Generator, num_images: int) -> World:
    """Return a world in which every label is there once."""
    questions, answers = draw_world(rng, num_images, 0.1)
    return [Question(one.key, label=f"only {one.key}", text=one.text) for one in questions], answers


def nearly_equal_classes(rng: np.random.Generator, num_images: int) -> World:
    """Return a world of two classes that differ in 1 % of the images, by no word."""
    questions, _ = draw_world(rng, num_images, 0.0, num_labels=1)
    return questions, (rng.random(num_images) < 0.01).astype(np.int64)


def drifting(rng: np.random.Generator, num_images: int) -> World:
    """Return a world in which what a label means changes with the number of the image."""
    questions, answers = draw_world(rng, num_images, 0.02)
    late = np.arange(num_images) > num_images // 2
    return questions, np.where(late, (answers + 1) % 4, answers)


def answers_of(inputs: Inputs, world: World) -> Answers:
    """Return the answers in the order of the inputs."""
    said = {question.key: answer for question, answer in zip(*world, strict=True)}
    return np.array([said[key] for key in inputs.keys], np.int64)


def answer_all(inputs: Inputs, answers: Answers, aim: Aim) -> tuple[Inferred, list[list[str]]]:
    """Return what comes of inputs whose answers are known, and the keys that were asked about, round by round."""
    asking, rounds = ask_and_infer(inputs, aim), []
    try:
        rows = next(asking)
        while True:
            rounds.append([inputs.keys[row] for row in rows])
            rows = asking.send(answers[rows].tolist())
    except StopIteration as ended:
        return ended.value, rounds


def infer_world(world: World, aim: Aim) -> tuple[Inferred, Answers]:
    """Return what comes of a world, and all answers in the same order."""
    inputs = read_inputs(world[0])
    answers = answers_of(inputs, world)
    return answer_all(inputs, answers, aim)[0], answers
