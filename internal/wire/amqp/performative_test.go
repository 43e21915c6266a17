package amqp

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func encodePerformative(t testing.TB, p performative) []byte {
	t.Helper()
	var b []byte
	var err error
	switch p := p.(type) {
	case *openFrame:
		b, err = p.append(nil)
	case *beginFrame:
		b, err = p.append(nil)
	case *attachFrame:
		b, err = p.append(nil)
	case interface{ append([]byte) []byte }:
		b = p.append(nil)
	default:
		t.Fatalf("no encoder for %T", p)
	}
	if err != nil {
		t.Fatalf("encode %T: %v", p, err)
	}
	return b
}

// Golden bytes by the field lists of AMQP 2.7, 3.4, 3.5 and 5.3.3. Performatives and termini have all
// their fields, nulls at the end included; states and errors need not.
func TestPerformativeGolden(t *testing.T) {
	for _, c := range []struct {
		name string
		p    performative
		hex  string
	}{
		{"open", &openFrame{ContainerID: "c", MaxFrameSize: 65536, ChannelMax: 4999, IdleTimeout: Some(uint32(240000))},
			"005310 c017 0a a10163407000010000601387700003a9804040404040"},
		{"open with properties", &openFrame{ContainerID: "c", Hostname: "h", MaxFrameSize: 512, ChannelMax: 0, Properties: Map{{Symbol("p"), "v"}}},
			"005310 c01d 0a a10163a1016870000002006000004040404040c10702a30170a10176"},
		{"begin in answer", &beginFrame{RemoteChannel: Some(uint16(1)), IncomingWindow: 2048, OutgoingWindow: 65536, HandleMax: 255},
			"005311 c014 08 600001437000000800700001000052ff404040"},
		{"attach of a receiver", &attachFrame{Name: "l", Role: roleReceiver, RcvSettleMode: Some(uint8(1)),
			Source: &Source{Address: "a", Filter: Map{{Symbol("f"), Described{uint64(0x0000468C00000004), "x"}}}}, Target: &Target{}},
			"005312 c042 0e a1016c4341405001005328c0200ba10161404040404040c11102a3016600800000468c00000004a10178404040005329c008074040404040404040404040404040"},
		{"attach of a sender", &attachFrame{Name: "l", Handle: 2, Role: roleSender, SndSettleMode: Some(uint8(2)),
			Source: &Source{}, Target: &Target{Address: "a"}, InitialDeliveryCount: Some(uint32(0)), MaxMessageSize: 1 << 20},
			"005312 c039 0e a1016c520242500240005328c00c0b4040404040404040404040005329c00a07a10161404040404040404043800000000000100000404040"},
		{"flow of a session", &flowFrame{NextIncomingID: Some(uint32(0)), IncomingWindow: 1, NextOutgoingID: 2, OutgoingWindow: 3},
			"005313 c00f 0b 4352015202520340404040404040"},
		{"flow of a link", &flowFrame{NextIncomingID: Some(uint32(1)), IncomingWindow: 1, NextOutgoingID: 0, OutgoingWindow: 1,
			Handle: Some(uint32(0)), DeliveryCount: Some(uint32(7)), LinkCredit: Some(uint32(100)), Drain: true, Echo: true},
			"005313 c011 0b 52015201435201435207526440414140"},
		{"transfer", &transferFrame{Handle: 1, DeliveryID: Some(uint32(3)), DeliveryTag: []byte{0xaa}, MessageFormat: Some(uint32(0)), Settled: Some(true), More: true},
			"005314 c010 0b 52015203a001aa4341414040404040"},
		{"transfer of a batch", &transferFrame{DeliveryID: Some(uint32(0)), DeliveryTag: []byte{}, MessageFormat: Some(uint32(0x80013700)), Settled: Some(false)},
			"005314 c011 0b 4343a000708001370042404040404040"},
		{"transfer aborted", &transferFrame{Aborted: true}, "005314 c00c 0b 4340404040404040404140"},
		{"disposition accepted", &dispositionFrame{Role: roleReceiver, First: 1, Last: 300, Settled: true, State: Accepted{}},
			"005315 c011 06 415201700000012c41005324c0010040"},
		{"disposition rejected", &dispositionFrame{Role: roleReceiver, First: 1, Last: 1, State: Rejected{Error: &Error{Condition: "c", Description: "d"}}},
			"005315 c01c 06 4152014040005325c0100100531dc00a03a30163a10164c1010040"},
		{"disposition modified", &dispositionFrame{Role: roleReceiver, State: Modified{DeliveryFailed: true}}, "005315 c00d 06 41434040005327c002014140"},
		{"disposition received", &dispositionFrame{Role: roleReceiver, State: Received{1, 2}}, "005315 c010 06 41434040005323c005025201530240"},
		{"detach", &detachFrame{Handle: 1, Closed: true, Error: &Error{Condition: CondStolen}},
			"005316 c021 03 52014100531dc01803a310616d71703a6c696e6b3a73746f6c656ea100c10100"},
		{"end", &endFrame{}, "005317 c002 01 40"},
		{"close", &closeFrame{}, "005318 c002 01 40"},
		{"SASL mechanisms", &saslMechanisms{Mechanisms: []Symbol{"MSSBCBS", "ANONYMOUS"}},
			"005340 c017 01 e01402a3074d53534243425309414e4f4e594d4f5553"},
		{"SASL mechanism alone", &saslMechanisms{Mechanisms: []Symbol{"PLAIN"}}, "005340 c00b 01 e00801a305504c41494e"},
		{"SASL init", &saslInit{Mechanism: "PLAIN", InitialResponse: []byte{0, 'u', 0, 'p'}, Hostname: "h"},
			"005341 c011 03 a305504c41494ea00400750070a10168"},
		{"SASL outcome", &saslOutcome{Code: saslAuth}, "005344 c004 02 500140"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := encodePerformative(t, c.p)
			if want := unhex(t, c.hex); !bytes.Equal(got, want) {
				t.Errorf("encoded\n got %x\nwant %x", got, want)
			}
			back := reflect.New(reflect.TypeOf(c.p).Elem()).Interface().(performative)
			d := newDecoder(got)
			if _, err := d.descriptor(); err != nil {
				t.Fatal(err)
			}
			if err := readPerformative(&d, back); err != nil || d.remaining() != 0 {
				t.Fatalf("decode %x: %v, %d left", got, err, d.remaining())
			}
			if again := encodePerformative(t, back); !bytes.Equal(again, got) {
				t.Errorf("decoded and encoded again\n got %x\nwant %x", again, got)
			}
		})
	}
}

// Errors always have three fields: readers index them without looking.
func TestErrorHasThreeFields(t *testing.T) {
	want := unhex(t, "00531d c018 03 a310 616d71703a6c696e6b3a73746f6c656e a100 c10100")
	if got := appendError(nil, &Error{Condition: CondStolen}); !bytes.Equal(got, want) {
		t.Errorf("error encoded\n got %x\nwant %x", got, want)
	}
	unencodable := &Error{Condition: CondStolen, Info: Map{{Symbol("k"), struct{}{}}}}
	if got := appendError(nil, unencodable); !bytes.Equal(got, want) {
		t.Errorf("error with an info that cannot be encoded\n got %x\nwant %x", got, want)
	}
}

func TestPerformativeLenient(t *testing.T) {
	decode := func(t *testing.T, hex string, p performative) {
		t.Helper()
		d := newDecoder(unhex(t, hex))
		if _, err := d.descriptor(); err != nil {
			t.Fatal(err)
		}
		if err := readPerformative(&d, p); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("list0 takes all defaults", func(t *testing.T) {
		var f openFrame
		decode(t, "005310 45", &f)
		if f.MaxFrameSize != 1<<32-1 || f.ChannelMax != 65535 {
			t.Errorf("max-frame-size %d, channel-max %d; want the defaults of the specification", f.MaxFrameSize, f.ChannelMax)
		}
	})
	t.Run("symbolic descriptor", func(t *testing.T) {
		d := newDecoder(unhex(t, "00a30e616d71703a6f70656e3a6c697374 c00401a10163"))
		if code, err := d.descriptor(); err != nil || code != descOpen {
			t.Errorf("descriptor amqp:open:list = 0x%x, %v; want 0x10", code, err)
		}
	})
	t.Run("wide descriptor", func(t *testing.T) {
		d := newDecoder(unhex(t, "00800000000000000010"))
		if code, err := d.descriptor(); err != nil || code != descOpen {
			t.Errorf("descriptor 0x80..10 = 0x%x, %v; want 0x10", code, err)
		}
	})
	t.Run("single capability without array", func(t *testing.T) {
		var f openFrame
		decode(t, "005310 c00e 09 a10163 40 40 40 40 40 40 40 a30178", &f)
		if !reflect.DeepEqual(f.DesiredCapabilities, []Symbol{"x"}) {
			t.Errorf("desired-capabilities = %q, want [x]", f.DesiredCapabilities)
		}
	})
	t.Run("unknown fields at the end", func(t *testing.T) {
		var f endFrame
		decode(t, "005317 c0050340 40a10 0", &f)
	})
	t.Run("coordinator", func(t *testing.T) {
		var f attachFrame
		decode(t, "005312 c014 07 a1016c 43 42 40 40 005328c00100 005330c00100", &f)
		if !f.Coordinator || f.Target != nil {
			t.Errorf("coordinator %v, target %v; want true and none", f.Coordinator, f.Target)
		}
	})
}

func TestPerformativeMalformed(t *testing.T) {
	for _, c := range []struct {
		name string
		p    performative
		hex  string
	}{
		{"no list", &openFrame{}, "a10163"},
		{"begin without windows", &beginFrame{}, "c0020140"},
		{"attach without handle", &attachFrame{}, "c00401a1016c"},
		{"attach with a string for handle", &attachFrame{}, "c00602a1016ca100"},
		{"attach of settle mode 3", &attachFrame{}, "c00a04a1016c 43 41 5003"},
		{"attach whose source is a target", &attachFrame{}, "c00f06a1016c434140 40005329c00100"},
		{"transfer with a tag of 33 bytes", &transferFrame{}, "c02703 4343a021" + string(bytes.Repeat([]byte("00"), 33))},
		{"transfer whose list ends early", &transferFrame{}, "c00305 4343"},
		{"disposition of unknown state", &dispositionFrame{}, "c00b05 4143404000533445"},
		{"disposition with a string state", &dispositionFrame{}, "c00705 41434040a100"},
		{"error without descriptor", &closeFrame{}, "c0020145"},
		{"error that is no error", &closeFrame{}, "c0050100532445"},
		{"SASL init without mechanism", &saslInit{}, "c00100"},
		{"mechanisms that are strings", &saslMechanisms{}, "c00601e00301a10 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDecoder(unhex(t, c.hex))
			if err := readPerformative(&d, c.p); !errors.Is(err, ErrMalformed) {
				t.Fatalf("got %+v, %v; want ErrMalformed", c.p, err)
			}
		})
	}
}
