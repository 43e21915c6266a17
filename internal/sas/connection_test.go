package sas

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestHubConnectionString(t *testing.T) {
	tests := []struct {
		name, text string
		want       HubConnectionString
	}{
		{"service", "HostName=h;SharedAccessKeyName=iothubowner;SharedAccessKey=" + key1,
			HubConnectionString{HostName: "h", SharedAccessKeyName: "iothubowner", SharedAccessKey: key1}},
		{"device", "HostName=h;DeviceId=a=b;SharedAccessKey=AQIDBA==",
			HubConnectionString{HostName: "h", DeviceID: "a=b", SharedAccessKey: "AQIDBA=="}},
		{"module behind a gateway", "HostName=h;DeviceId=d;ModuleId=m;SharedAccessKey=AQIDBA==;GatewayHostName=g",
			HubConnectionString{HostName: "h", DeviceID: "d", ModuleID: "m", SharedAccessKey: "AQIDBA==", GatewayHostName: "g"}},
		{"certificate", "HostName=h;DeviceId=d;x509=true",
			HubConnectionString{HostName: "h", DeviceID: "d", X509: true}},
		{"token", "HostName=h;DeviceId=d;SharedAccessSignature=SharedAccessSignature sr=h%2Fdevices%2Fd&sig=a=&se=1",
			HubConnectionString{HostName: "h", DeviceID: "d", SharedAccessSignature: "SharedAccessSignature sr=h%2Fdevices%2Fd&sig=a=&se=1"}},
		{"other order and case, unknown name, white space", " sharedaccesskey=AQ==; HOSTNAME=h ;;X509=False;ProtocolGateway=x;deviceid=d;\n",
			HubConnectionString{HostName: "h", DeviceID: "d", SharedAccessKey: "AQ=="}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseHubConnectionString(tt.text)
			if err != nil {
				t.Fatalf("Parse: %v", err)
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got.Format(), tt.want.Format())
			}
			again, err := ParseHubConnectionString(got.Format())
			if err != nil || again != got {
				t.Errorf("Format %q reads as %s, %v", got.Format(), again.Format(), err)
			}
		})
	}
	first := tests[0]
	if got := first.want.Format(); got != first.text {
		t.Errorf("Format: got %q, want %q", got, first.text)
	}
	if got, want := first.want.String(), "HostName=h;SharedAccessKeyName=iothubowner;SharedAccessKey=hidden"; got != want {
		t.Errorf("String: got %q, want %q", got, want)
	}
}

func TestHubConnectionStringErrors(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"empty", "", "HostName is missing"},
		{"no host", "DeviceId=d;SharedAccessKey=" + key1, "HostName is missing"},
		{"no equals sign", "HostName=h;" + key1[:20], "a part without '='"},
		{"twice", "HostName=h;hostname=h", "hostname occurs twice"},
		{"module alone", "HostName=h;ModuleId=m", "ModuleId without DeviceId"},
		{"key and certificate", "HostName=h;DeviceId=d;x509=true;SharedAccessKey=" + key1, "more than one"},
		{"key and token", "HostName=h;SharedAccessSignature=s;SharedAccessKey=" + key1, "more than one"},
		{"x509 maybe", "HostName=h;x509=maybe", "x509 is neither"},
		{"too long", "HostName=" + strings.Repeat("h", MaxConnectionStringBytes), "longer than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseHubConnectionString(tt.text)
			if !errors.Is(err, ErrConnectionString) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want ErrConnectionString with %q", err, tt.want)
			}
			if strings.Contains(err.Error(), key1[:20]) {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
}

func TestEventHubsConnectionString(t *testing.T) {
	text := "Endpoint=sb://localhost:5672/;SharedAccessKeyName=service;SharedAccessKey=" + key1 + ";EntityPath=twinhub;UseDevelopmentEmulator=true"
	want := EventHubsConnectionString{Endpoint: "sb://localhost:5672/", SharedAccessKeyName: "service", SharedAccessKey: key1, EntityPath: "twinhub", UseDevelopmentEmulator: true}
	got, err := ParseEventHubsConnectionString(text)
	if err != nil || got != want {
		t.Fatalf("got %s, %v; want %s", got.Format(), err, want.Format())
	}
	if got.Format() != text {
		t.Errorf("Format: got %q, want %q", got.Format(), text)
	}
	if got.Host() != "localhost:5672" {
		t.Errorf("Host: got %q, want localhost:5672", got.Host())
	}
	if s := got.String(); strings.Contains(s, key1) || !strings.Contains(s, "SharedAccessKey=hidden;EntityPath=twinhub") {
		t.Errorf("String: got %q", s)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"no endpoint", "SharedAccessKey=" + key1, "Endpoint is missing"},
		{"key and token", "Endpoint=sb://h/;SharedAccessKey=" + key1 + ";SharedAccessSignature=s", "both"},
		{"emulator 7", "Endpoint=sb://h/;UseDevelopmentEmulator=7", "UseDevelopmentEmulator is neither"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseEventHubsConnectionString(tt.text)
			if !errors.Is(err, ErrConnectionString) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ErrConnectionString with %q", err, tt.want)
			}
		})
	}
}

// What Format writes, Parse reads back, as long as values hold no ';' and no outer white space.
func TestConnectionStringRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		value := rapid.StringMatching(`([!-:<-~]{1,20})?`)
		want := HubConnectionString{
			HostName:            rapid.StringMatching(`[a-z]{1,10}`).Draw(rt, "host"),
			GatewayHostName:     value.Draw(rt, "gateway"),
			DeviceID:            rapid.StringMatching(`[!-:<-~]{1,20}`).Draw(rt, "device"),
			ModuleID:            value.Draw(rt, "module"),
			SharedAccessKeyName: value.Draw(rt, "policy"),
			SharedAccessKey:     value.Draw(rt, "key"),
		}
		got, err := ParseHubConnectionString(want.Format())
		if err != nil || got != want {
			rt.Fatalf("%q reads as %q, %v", want.Format(), got.Format(), err)
		}
	})
}
