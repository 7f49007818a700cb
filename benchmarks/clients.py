"""The load of serving.py, as a process of its own: item keys as json in, latencies in seconds as json out.

  python benchmarks/clients.py URL CLIENTS SECONDS < keys.json
"""

import asyncio
import json
import random
import sys
import time

import httpx

K, T, WARM_UP = 10, 20, 0.5  # items asked for, items of the longest history, seconds that do not count


async def main(url, keys, n_clients, seconds):
    latencies, begin = [], time.perf_counter() + WARM_UP
    end = begin + seconds

    async def client(number, http):
        rng = random.Random(number)
        while (sent := time.perf_counter()) < end:
            body = {"histories": [rng.choices(keys, k=rng.randint(1, T))], "k": K}
            (await http.post("/recommend", json=body)).raise_for_status()
            if begin <= sent and (ended := time.perf_counter()) <= end:
                latencies.append(ended - sent)

    async with httpx.AsyncClient(base_url=url, timeout=30, limits=httpx.Limits(max_connections=n_clients)) as http:
        await asyncio.gather(*(client(number, http) for number in range(n_clients)))
    return latencies


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], json.load(sys.stdin), int(sys.argv[2]), float(sys.argv[3])))))
