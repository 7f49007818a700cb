"""Histories that wait together are ranked together, by one thread: the next batch gathers while torch works on this one."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from recbole_prorec.errors import InputError


@dataclass
class Job:
    ids: list
    k: int
    exclude_seen: bool | None
    arrived: float
    answer: asyncio.Future


class Batcher:
    """`rank` is Recommender.rank. A history waits `max_wait_ms` for others; a batch has `max_batch` histories at most."""

    def __init__(self, rank, max_batch=64, max_wait_ms=2.0):
        if max_batch < 1 or not 0 <= max_wait_ms <= 10_000:
            raise InputError(f"max_batch is {max_batch} and max_wait_ms {max_wait_ms}; expected at least 1, and 0 to 10000. Change "
                             "--max-batch or --max-wait-ms.")
        self.rank, self.max_batch, self.max_wait = rank, max_batch, max_wait_ms / 1000
        self.n_batches = self.n_histories = 0

    async def __aenter__(self):
        self._queue, self._thread = asyncio.Queue(), ThreadPoolExecutor(1, "torch")
        self._work = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_):
        self._work.cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def recommend(self, histories, k, exclude_seen):
        """(keys, scores) of each of `Recommender.read_history`'s lists."""
        loop = asyncio.get_running_loop()
        jobs = [Job(ids, k, exclude_seen, loop.time(), loop.create_future()) for ids in histories]
        for job in jobs:
            self._queue.put_nowait(job)
        return await asyncio.gather(*(job.answer for job in jobs))

    async def _run(self):
        while True:
            jobs = await self._gather()
            self.n_batches, self.n_histories = self.n_batches + 1, self.n_histories + len(jobs)
            await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, jobs, asyncio.get_running_loop())

    async def _gather(self):
        jobs = [await self._queue.get()]
        while len(jobs) < self.max_batch:
            try:
                async with asyncio.timeout_at(jobs[0].arrived + self.max_wait):
                    jobs.append(await self._queue.get())
            except TimeoutError:  # what is there already is taken even then
                break
        return jobs

    def _answer(self, jobs, loop):
        for exclude_seen in (None, False, True):
            alike = [job for job in jobs if job.exclude_seen is exclude_seen]
            try:
                answers = self._ranked(alike, exclude_seen) if alike else []
            except Exception as error:  # these requests fail, later ones are answered
                answers = [error] * len(alike)
            loop.call_soon_threadsafe(_deliver, alike, answers)

    def _ranked(self, jobs, exclude_seen):
        """A list's beginning does not depend on k: the largest serves all."""
        keys, scores = self.rank([job.ids for job in jobs], max(job.k for job in jobs), exclude_seen)
        return [(items[:job.k], values[:job.k]) for job, items, values in zip(jobs, keys, scores)]


def _deliver(jobs, answers):
    for job, answer in zip(jobs, answers):
        if job.answer.cancelled():
            continue
        if isinstance(answer, Exception):
            job.answer.set_exception(answer)
        else:
            job.answer.set_result(answer)
