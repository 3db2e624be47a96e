"""Release a language model: train, evaluate by its perplexity, deploy in a shadow of the one that serves.

The model is a byte-level GPT that learns Python's sources; ``size`` says how large: ``100k`` learns on a laptop in
seconds, ``124m`` wants a GPU. Copy this file for a model of your own: what is the model's is named by
``package.module:function``.

Params:
    size: of the model, one of ``bulkhead.gpu_tasks.gpt.SIZES``.
    steps: of the training.
    seed: of the training.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, DeadlineAlert, DeadlineReference, Param

from bulkhead import DeployOperator, EvaluateOperator, TrainOperator, rollback_on_deadline

with DAG(
    dag_id="gpt_release",
    description="Train a byte-level GPT, judge it by its perplexity, and release it behind a shadow",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    params={
        "size": Param("100k", type="string", enum=["100k", "1m", "10m", "124m"]),
        "steps": Param(300, type="integer", minimum=1),
        "seed": Param(0, type="integer", minimum=0),
    },
    deadline=DeadlineAlert(
        name="release",
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=2),
        callback=rollback_on_deadline(reason="the release missed its deadline"),
    ),
) as dag:
    train = TrainOperator(
        task_id="train",
        entrypoint="bulkhead.gpu_tasks.language_model:train",
        parameters={"size": "{{ params.size }}", "steps": "{{ params.steps }}", "seed": "{{ params.seed }}"},
        experiment="gpt",
        checkpoint="/checkpoints",
        cpu="2",
        memory="4Gi",
        deadline=timedelta(hours=1),
    )
    evaluate = EvaluateOperator(
        task_id="evaluate",
        model_name="gpt",
        data="bulkhead.gpu_tasks.text:next_bytes",
        target="next",
        metrics={"perplexity": {"at_most": 40, "margin": 2.0}},
        slices=["bulkhead.gpu_tasks.text:by_place"],
        cost={"latency_p95_ms": {"at_most": 2000}, "size_mib": {"at_most_times": 2}},
        batch_sizes=[1],
        cpu="2",
        memory="4Gi",
        deadline=timedelta(minutes=20),
    )
    deploy = DeployOperator(
        task_id="deploy",
        service="gpt",
        model_name="gpt",
        # First the candidate answers copies of all requests; of what the two say comes next half may differ.
        plan={
            "steps": [{"mirror": 100, "step_s": 10}, 50, 100],
            "step_s": 5,
            "min_requests": 20,
            "max_disagreement": 0.5,
            "latency_ms": 5000,
            "latency_floor_ms": 5000,
        },
        serve={"gpus": 1, "memory": "4Gi"},
    )
    train >> evaluate >> deploy
