# make test is what CI runs. Everything else is a part of it or a tool beside it.

SHELL     := bash
GO        ?= go
FUZZTIME  ?= 2m
LINT      := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
TARGETS   := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

# Each line: package and fuzz target of a decoder that reads bytes from a socket.
FUZZ_CI   := ./internal/wire/mqtt:FuzzReader ./internal/wire/amqp:FuzzConn
FUZZ_ALL  := $(FUZZ_CI) ./internal/wire/amqp:FuzzFrame ./internal/wire/amqp:FuzzValue ./internal/wire/amqp:FuzzMessage \
             ./internal/jsondoc:FuzzParse ./internal/sas:FuzzParse

.PHONY: build demo test unit race system cross fuzz-ci fuzz lint

build: ## the program, in bin/
	$(GO) build -o bin/ ./cmd/twinhub

demo: ## the program, built while you watch, then a hub, two devices and a back end at work
	@echo "Building bin/twinhub. The first time this takes about two minutes, later seconds."
	@total=$$($(GO) list -deps ./cmd/twinhub | wc -l) && count=0 && \
	$(GO) build -v -o bin/ ./cmd/twinhub 2>&1 | while IFS= read -r line; do \
		case $$line in \
		*' '*|'') echo "$$line" ;; \
		*) count=$$((count + 1)); \
		   if [ -t 1 ]; then printf '\r  %d of at most %d packages compiled ' $$count $$total; \
		   elif [ $$((count % 50)) = 0 ]; then echo "  $$count of at most $$((total)) packages compiled"; fi ;; \
		esac; \
	done; status=$${PIPESTATUS[0]}; [ ! -t 1 ] || echo; exit $$status
	bin/twinhub demo --once

test: cross unit race fuzz-ci system ## everything CI runs

unit: ## every package but those that start real hubs
	$(GO) vet ./...
	$(GO) test $$($(GO) list ./... | grep -v -e /test/sdks -e /test/system)

race: ## the concurrent parts under the race detector
	$(GO) test -race -short ./internal/... ./hubtest/... ./device/... ./service/...

system: ## real hubs on the real ports, driven by the official SDKs, and killed
	$(GO) test -count=1 -p 1 -timeout 30m -v ./test/system/... ./test/sdks/... 2>&1 | grep -v -e '^=== ' ; exit $${PIPESTATUS[0]}

cross: ## the program for every system it is made for
	@for target in $(TARGETS); do \
		echo "build $$target"; \
		CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} $(GO) build -o /dev/null ./cmd/twinhub || exit 1; \
	done

fuzz-ci: ## two minutes for each decoder that strangers reach, beside each other
	@pids=; for f in $(FUZZ_CI); do \
		$(GO) test -run '^$$' -fuzz "^$${f#*:}$$" -fuzztime $(FUZZTIME) -parallel 1 "$${f%:*}" & pids="$$pids $$!"; \
	done; for pid in $$pids; do wait $$pid || exit 1; done

fuzz: ## each fuzz target in turn, for FUZZTIME
	@for f in $(FUZZ_ALL); do \
		echo "fuzz $$f"; $(GO) test -run '^$$' -fuzz "^$${f#*:}$$" -fuzztime $(FUZZTIME) "$${f%:*}" || exit 1; \
	done

lint:
	$(GO) run $(LINT) run ./...

bench: ## the figures of docs/performance.md: server on one core, generator on the other
	test/load/bench.sh
