"""The stages of a training, one after the other, with what they hand to each other."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from weights.train import checkpoint, clap_stage, codec_stage, codes, language_stage, published, vocabularies
from weights.train.clap import Clap
from weights.train.codec import Codec
from weights.train.figures import Figures
from weights.train.heard import listen
from weights.train.language import Language
from weights.train.quantiser import Quantiser
from weights.train.recipe import Recipe
from weights.train.schedule import Budget
from weights.train.store import Store

STAGES = {"codec": 0.3, "clap": 0.1, "language": 0.6}
"""Shares of the time, in their order."""
_LEAST = 2.0  # seconds, without which a stage does not begin
_MEASURING = 0.03
"""Of all time, kept for what follows the last step."""
_ENCODING = 0.25
"""Of the language model's time, at most, that coding all pieces may take."""
_LISTENING = 0.03
"""Of its time, that measuring them may take."""
_AUDIO = "audio_encoder."


class Training:
    """Networks, and what is known of them on disk.

    A stage begins with the checkpoint that the folder has, if it has one. What is written while a stage runs
    is not as good as at its end, but it is something.

    Parameters
    ----------
    recipe : Recipe
    store : Store
        Open.
    out : Path
        Gets the folders ``musicgen`` and ``clap``.
    figures : Figures
    compiled : bool
        See `LanguageTraining`.
    clock : callable
        Returns seconds.
    """

    def __init__(
        self,
        recipe: Recipe,
        store: Store,
        out: Path,
        figures: Figures,
        compiled: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.recipe, self.store, self.out, self.figures = recipe, store, out, figures
        self._compiled, self._clock = compiled, clock
        self.codec = Codec(recipe.codec, store.device)
        self.quantiser = Quantiser(recipe.codec, store.device)
        self.language = Language(recipe.language, recipe.codec.entries, store.device)
        self.clap = Clap(recipe.clap, store.device)

    def run(self, stages: Iterable[str], seconds: float) -> list[str]:
        """Run stages within a time; one that fails does not keep the others from being tried.

        Returns
        -------
        list of str
            The stages that failed.
        """
        end = self._clock() + (1 - _MEASURING) * seconds
        left = [stage for stage in STAGES if stage in set(stages)]
        failed = []
        while left:
            stage = left.pop(0)
            share = STAGES[stage] / (STAGES[stage] + sum(STAGES[other] for other in left))
            given = share * (end - self._clock())
            if given < _LEAST:
                self.figures.say(f"{stage}: no time is left")
                failed.append(stage)
                continue
            try:
                getattr(self, f"_{stage}")(given)
            except Exception as error:
                self.figures.say(traceback.format_exc())
                self.figures.result(stage, error=repr(error))
                failed.append(stage)
            if self.store.device.type == "cuda":
                torch.cuda.empty_cache()
        self.store.close()
        return failed

    def _budget(self, seconds: float) -> Budget:
        return Budget(seconds, self._clock)

    # -- Stages

    def _codec(self, seconds: float) -> None:
        known = self._read_musicgen()
        training = codec_stage.CodecTraining(self.codec, self.quantiser, self.store, self.figures)
        training.run(self._budget(seconds), fresh=not known, save=self._write_musicgen)
        self._write_musicgen()
        measured = codec_stage.evaluate(self.codec, self.quantiser, self.store)
        self.figures.result("codec", steps=training.steps, **measured)

    def _clap(self, seconds: float) -> None:
        self.store.close()
        folder = self.out / "clap"
        known = checkpoint.read(folder)
        if known:
            self.clap.load(known)
            tokenizer = checkpoint.read_tokenizer(folder)
        else:
            tokenizer = vocabularies.roberta(self.recipe.clap.text_vocabulary, self.store.pieces)
        training = clap_stage.ClapTraining(self.clap, self.store, tokenizer, self.figures, fresh=not known)
        training.run(self._budget(seconds))
        files = published.clap_files(self.recipe) | {"tags.json": published.known_tags(self.store.pieces)}
        checkpoint.write(folder, self.clap.tensors(), files, tokenizer)
        measured = clap_stage.evaluate(self.clap, self.store, tokenizer)
        self.figures.result("clap", steps=training.steps, **measured)

    def _language(self, seconds: float) -> None:
        began = self._clock()
        if not self._read_musicgen():
            raise RuntimeError(f"{self.out / 'musicgen'} has no codec: the stage codec comes first")
        self.store.close()  # what is there by now is what there is
        count = self.store.count
        coded = codes.encode(self.codec, self.quantiser, self.store, count, self._budget(_ENCODING * seconds))
        pieces = self.store.pieces[: len(coded.codes)]
        self.figures.say(f"{len(pieces)} of {count} pieces coded in {self._clock() - began:.1f} s")
        heard = listen(self.store, len(pieces), self._budget(_LISTENING * seconds))
        self.figures.say(f"{heard} of them listened to")
        self.store.drop()
        tokenizer = self._tokenizer()
        training = language_stage.LanguageTraining(
            self.language, coded, pieces, self.recipe.held_out, tokenizer, self.figures, self._compiled
        )
        training.run(self._budget(seconds - (self._clock() - began)), save=self._write_musicgen)
        self._write_musicgen()
        measured = language_stage.evaluate(self.language, coded, pieces, self.recipe.held_out, tokenizer)
        self.figures.result("language", steps=training.steps, pieces=len(pieces), **measured)

    # -- Checkpoints

    def _read_musicgen(self) -> bool:
        """Take over what the folder has; whether it has anything."""
        known = checkpoint.read(self.out / "musicgen")
        if known:
            audio = {name.removeprefix(_AUDIO): t for name, t in known.items() if name.startswith(_AUDIO)}
            self.codec.load(audio)
            self.quantiser.load(audio)
            self.language.load(known)
        return bool(known)

    def _write_musicgen(self) -> None:
        audio: dict[str, Tensor] = self.codec.tensors() | self.quantiser.tensors()
        tensors = {f"{_AUDIO}{name}": tensor for name, tensor in audio.items()} | self.language.parameters
        files = published.musicgen_files(self.recipe)
        checkpoint.write(self.out / "musicgen", tensors, files, self._tokenizer())
        self.figures.save()

    def _tokenizer(self) -> Tokenizer:
        folder = self.out / "musicgen"
        if (folder / "tokenizer.json").exists():
            return checkpoint.read_tokenizer(folder)
        # The published embedding has 28 rows more than the tokenizer has ids.
        return vocabularies.t5(self.recipe.language.text_vocabulary - 28, self.store.pieces)
