package sdks

import (
	"fmt"
	"os/exec"
	"strconv"
	"testing"
)

// TestSections has Qpid Proton judge the AMQP types of one event of each kind, and then its own sharpness.
func TestSections(t *testing.T) {
	const system = "/usr/bin/python3" // Debian's, which python3-qpid-proton is for
	if out, err := exec.Command(system, "-c", "import proton").CombinedOutput(); err != nil {
		skipOrFail(t, "no Qpid Proton for %s (python3-qpid-proton): %v %s", system, err, out)
	}
	h := sharedHub(t)
	s, c := newService(t, h), consumer(t, h, true)
	before := heads(t, c)
	d := s.connect(h, "sections", s.register("sections"), "dtmi:com:example:Thermostat;1")
	d.telemetry("%24.ct=application%2Fjson&%24.ce=utf-8&%24.sub=thermostat1", `{"temperature": 12}`)
	d.telemetry("", "bare")
	d.telemetry("%24.ct=application%2Fjson&%24.ce=utf-8&%24.mid=m&%24.cid=c&%24.uid=u&colour=blue&size=1", "{}")
	d.report(204, `{"maxTempSinceLastReboot":10.96}`)
	partition := grown(t, c, before)
	count := heads(t, c)[partition] - before[partition]
	cmd := exec.Command(system, "python/sections.py", d.id, partition, fmt.Sprint(before[partition]), strconv.FormatInt(count, 10))
	cmd.Env = clientEnv(h)
	runChecks(t, cmd, 1+2*5)
}
