package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// cpuTime returns the user and system time that the process has used. Its resolution is that of the kernel's clock
// tick, 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	if pid == 0 {
		return 0, errors.New("no process to measure: give -pid")
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold spaces; fields count from 3 behind it.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("unexpected %q", text)
	}
	var ticks time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond, nil
}

// residentKiB returns VmRSS of the process.
func residentKiB(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.Atoi(strings.Fields(value)[0])
		}
	}
	return 0, errors.New("no VmRSS")
}

// A span measures operations over a time.
type span struct {
	pid   int
	begin time.Time
	cpu   time.Duration
	count int64
}

func startSpan(pid int, count int64) (span, error) {
	cpu, err := cpuTime(pid)
	return span{pid: pid, begin: time.Now(), cpu: cpu, count: count}, err
}

// end reports the span: count is the number of operations by now.
func (s span) end(count int64) (result, error) {
	wall := time.Since(s.begin)
	cpu, err := cpuTime(s.pid)
	if err != nil {
		return nil, err
	}
	n := count - s.count
	if n == 0 {
		return nil, errors.New("nothing was done while measuring")
	}
	return result{
		"operations": n,
		"seconds":    wall.Seconds(),
		"perSecond":  float64(n) / wall.Seconds(),
		"cpuMicros":  float64((cpu - s.cpu).Microseconds()) / float64(n),
		"serverBusy": float64(cpu-s.cpu) / float64(wall),
		"rssMiB":     rssMiB(s.pid),
	}, nil
}

func rssMiB(pid int) float64 {
	kib, err := residentKiB(pid)
	if err != nil {
		return 0
	}
	return float64(kib) / 1024
}
