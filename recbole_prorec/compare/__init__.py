"""Models compared on equal terms: every (data set, entry, seed) in a process of its own, and tables of what came out.

    plan ──runs──> scheduler ──one child each──> worker: train, test, rank of every user's item   <output>/<name>/<run>.json, .npz
    search ─trials─> the same, validated alone             <output>/<name>-search.md, .csv, .json, and <name>-tuned.yaml
    report <──── significance, costs <──────────── results                                        <output>/<name>.md, .csv, .json
"""
