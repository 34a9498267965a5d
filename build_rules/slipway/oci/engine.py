"""Reads the parts of an image from the local Docker engine, with `docker save`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from typing import Dict, Mapping

from slipway.core.errors import SlipwayError
from slipway.fetch.download import disk_problem
from slipway.oci.docker import Client, EngineRefused, last_line
from slipway.oci.flatten import split_archive
from slipway.oci.lock import Blob, ImageLock, ImageReference

_CHUNK = 1 << 20


class SavedImage:
    """An image of the engine, split into files below `folder`; remove() deletes them.

    `lock` lists the parts of the image, and `paths` maps their SHA-256 to files.
    """

    def __init__(self, reference: ImageReference, env: Mapping[str, str], folder: str) -> None:
        self._reference = reference
        self._env = env
        self._folder = tempfile.mkdtemp(prefix="engine-", dir=folder)
        self.paths: Dict[str, str] = {}
        try:
            self.lock = self._split()
        except OSError as error:
            self.remove()
            raise disk_problem(error, folder) from None
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _split(self) -> ImageLock:
        archive = os.path.join(self._folder, "image.tar")
        self._save(archive)
        config, layers, names = split_archive(archive, self._folder)
        if self._reference.digest not in names:
            raise SlipwayError(
                f'the engine returned another image for "{self._reference}"',
                found=" or ".join(names),
                next="docker image inspect " + self._reference.digest,
            )
        return ImageLock(
            str(self._reference), self._blob(config), tuple(self._blob(layer) for layer in layers)
        )

    def _save(self, archive: str) -> None:
        docker = shutil.which("docker", path=self._env.get("PATH", ""))
        if docker is None:
            raise self._fault("no docker program on the PATH")
        client = Client(docker, self._env)
        try:
            answer = client.ask("image", "inspect", "--format={{.Id}}", self._reference.digest)
        except EngineRefused as error:
            raise self._fault(str(error)) from None
        if answer.returncode != 0:
            raise self._fault(last_line(answer.stderr))
        saved = subprocess.run(
            [docker, "save", f"--output={archive}", self._reference.digest],
            env=dict(self._env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if saved.returncode != 0:
            raise self._fault(last_line(saved.stderr))

    def _fault(self, reason: str) -> SlipwayError:
        return SlipwayError(
            f'cannot read the image "{self._reference}" from the local engine',
            found=reason,
            next="docker image ls --no-trunc   (lists the images of the engine)\n"
            "or push the image to a registry, so that every machine can use it, and set:\n"
            'image="registry.example/team/image@sha256:…"',
        )

    def _blob(self, path: str) -> Blob:
        hashed = hashlib.sha256()
        with open(path, "rb") as file:
            for chunk in iter(lambda: file.read(_CHUNK), b""):
                hashed.update(chunk)
        self.paths[hashed.hexdigest()] = path
        return Blob(hashed.hexdigest(), os.path.getsize(path))
