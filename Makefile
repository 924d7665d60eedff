# make demo   the whole pipeline on the sample log, from an empty machine
# make test   linting and all tests
# make fuzz   coverage-guided fuzzing of all that reads files; installs atheris
# make bench  ours against PyTorch, polars, faiss and numpy; installs them
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
MODEL = ./output/model/model_pass_00000.tar.gz
BEST = ./output/best/model_best.tar.gz
DICT = ./output/feature_dict.pkl
RUNS = 50000

.PHONY: demo test lint fuzz bench clean

# The documented commands with two passes; then the preset `best`, and lists for two users to read
demo: $(VENV)/.demo data/train.txt
	mkdir -p output/model
	$(RUN) data_processor.py --train_set_path=./data/train.txt --output_dir=./output --feat_appear_limit=20
	$(RUN) train.py --train_set_path='./data/train.txt' --test_set_path='./data/test.txt' \
		--model_output_dir='./output/model/' --feature_dict='$(DICT)' --item_freq='./output/item_freq.pkl' --num_passes=2
	$(RUN) infer.py --infer_set_path='./data/infer.txt' --model_path='$(MODEL)' --feature_dict='$(DICT)' \
		--batch_size=50 > output/lists.txt
	$(RUN) user_vector.py --infer_set_path='./data/infer.txt' --model_path='$(MODEL)' --feature_dict='$(DICT)' \
		--batch_size=50 > output/user_vectors.txt
	$(RUN) item_vector.py --model_path='$(MODEL)' --feature_dict='$(DICT)' > output/item_vectors.txt
	$(RUN) infer_user.py --model_path='$(MODEL)' --feature_dict='$(DICT)' > output/lists_by_id.txt
	awk 'NR % 10 == 0' data/test.txt > output/valid.txt
	awk 'NR % 10 != 0' data/test.txt > output/test.txt
	$(RUN) train.py --preset=best --train_set_path='./data/train.txt' --valid_set_path='./output/valid.txt' \
		--test_set_path='./output/test.txt' --model_output_dir='./output/best/' --feature_dict='$(DICT)' \
		--item_freq='./output/item_freq.pkl' --num_passes=2
	$(RUN) data/make_titles.py > output/titles.tsv
	grep -m 2 ';' data/infer.txt > output/two.txt
	@echo "== What two users may click next, and which of their clicks it follows from (because_title)"
	$(RUN) infer.py --infer_set_path='./output/two.txt' --model_path='$(BEST)' --feature_dict='$(DICT)' \
		--remove_seen --top_n=5 --format=long --names=output/titles.tsv --explain
	@echo "== The example's lists and vectors: output/lists.txt, lists_by_id.txt, user_vectors.txt, item_vectors.txt"
	@echo "   Their commands are above; docs/serving.md describes them."

test: lint
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

fuzz: $(VENV)/.fuzz
	for target in log dictionary frequencies model archive; do \
		$(RUN) tests/fuzz.py $$target -runs=$(RUNS) -print_final_stats=1 || exit; done

bench: $(VENV)/.bench
	$(RUN) benchmarks/bench.py

data/train.txt: data/data.tar
	cd data && tar -zxvf data.tar && touch train.txt test.txt infer.txt

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV) || { echo "make: no venv; on Debian: apt install python3-venv" >&2; exit 1; }

$(VENV)/.demo: requirements.txt | $(VENV)/bin/python
	$(RUN) -m pip install -q --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt | $(VENV)/bin/python
	$(RUN) -m pip install -q --disable-pip-version-check -r requirements-dev.txt
	touch $@ $(VENV)/.demo

$(VENV)/.fuzz: requirements.txt requirements-fuzz.txt | $(VENV)/bin/python
	$(RUN) -m pip install -q --disable-pip-version-check -r requirements-fuzz.txt
	touch $@

$(VENV)/.bench: requirements.txt benchmarks/requirements.txt | $(VENV)/bin/python
	$(RUN) -m pip install -q --disable-pip-version-check -r benchmarks/requirements.txt
	touch $@

clean:
	rm -rf $(VENV) output data/train.txt data/test.txt data/infer.txt
