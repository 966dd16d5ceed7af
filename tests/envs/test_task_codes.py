"""A task told by its sentence: characters, and the features of a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from mbrl_agents.data.collect import Collection, collect
from mbrl_agents.envs.libero.task_codes import T5_VARIABLE, encode_sentence, hidden, task_codes
from mbrl_agents.runs.tasks import as_observed

SPATIAL = "mbrl/LiberoSpatial-v0"
SENTENCES = ["pick up the bowl", "pick up the plate", "push the plate"]


@pytest.fixture
def tiny_t5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """T5 with random weights and a vocabulary of these words, as a folder."""
    with hidden("torchvision"):
        pytest.importorskip("transformers")
        from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel
    import tokenizers
    import torch

    words = ["<pad>", "</s>", "<unk>", *sorted({w for s in SENTENCES for w in s.split()})]
    model = tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    sizes: dict[str, Any] = {"d_model": 12, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    torch.manual_seed(0)
    encoder = T5EncoderModel(T5Config(vocab_size=len(words), **sizes))
    fast.save_pretrained(tmp_path)
    encoder.save_pretrained(tmp_path)
    monkeypatch.setenv(T5_VARIABLE, str(tmp_path))
    return tmp_path


def test_every_task_has_a_code_of_its_own(tiny_t5: Path) -> None:
    for how, size in (("one_hot", 3), ("characters", 17), ("t5", 12)):
        codes = task_codes(how, SENTENCES)
        assert (codes.shape, codes.dtype) == ((3, size), np.float32)
        assert len({code.tobytes() for code in codes}) == 3
        if how != "one_hot":
            for sentence, code in zip(SENTENCES, codes, strict=True):
                assert encode_sentence(how, sentence, size).tolist() == code.tolist()
    assert task_codes("characters", SENTENCES)[0, -1] == 0  # the shortest ends in padding
    with pytest.raises(ValueError, match="unknown task_code 'words'; valid: one_hot, characters"):
        task_codes("words", SENTENCES)
    with pytest.raises(ValueError, match="has 17 characters, more than 5"):
        encode_sentence("characters", SENTENCES[1], 5)
    with pytest.raises(ValueError, match="observed as 5 numbers, but t5 makes 12"):
        encode_sentence("t5", SENTENCES[1], 5)


def test_weights_that_are_not_there_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hidden("torchvision"):
        pytest.importorskip("transformers")
    monkeypatch.setenv(T5_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(RuntimeError, match=r"finds no weights of .*nowhere.*MBRL_T5"):
        task_codes("t5", SENTENCES)


@pytest.mark.libero
def test_an_environment_shows_the_code_and_episodes_without_it_get_it() -> None:
    keywords = {"assets": "primitive", "settle_steps": 0, "task_code": "characters"}
    env = gym.make(SPATIAL, task=[1, 4], **keywords).unwrapped
    shown = {}
    for task in (1, 4):
        observation, _ = env.reset(seed=0, options={"task": task})
        assert env.observation_space.contains(observation)
        shown[task] = observation["task"]
    assert not np.array_equal(shown[1], shown[4])
    env.close()
    short = {"assets": "primitive", "max_episode_steps": 3}
    (episode,) = collect(Collection(SPATIAL, short, source="random", episodes=1, tasks=[4]))
    (seen,) = as_observed([episode], env.observation_space, "characters")
    assert seen.observations["task"].tolist() == [shown[4].tolist()] * (len(episode) + 1)
