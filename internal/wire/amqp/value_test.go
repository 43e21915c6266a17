package amqp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.ReplaceAll(s, " ", ""), "\n", ""))
	if err != nil {
		t.Fatalf("bad hex in test: %v", err)
	}
	return b
}

// Golden bytes, derived by hand from the encodings of AMQP 1.6. What is encoded must be these bytes, and
// they must decode to the same Go value of the same type.
func TestValueGolden(t *testing.T) {
	for _, c := range []struct {
		name string
		v    any
		hex  string
	}{
		{"null", nil, "40"},
		{"true", true, "41"},
		{"false", false, "42"},
		{"ubyte", uint8(200), "50c8"},
		{"ushort", uint16(0x1234), "601234"},
		{"uint 0", uint32(0), "43"},
		{"uint small", uint32(255), "52ff"},
		{"uint", uint32(256), "7000000100"},
		{"ulong 0", uint64(0), "44"},
		{"ulong small", uint64(255), "53ff"},
		{"ulong", uint64(0x0000468C00000004), "800000468c00000004"},
		{"byte", int8(-1), "51ff"},
		{"short", int16(-2), "61fffe"},
		{"int small", int32(-128), "5480"},
		{"int", int32(200), "71000000c8"},
		{"int negative", int32(-129), "71ffffff7f"},
		{"long small", int64(127), "557f"},
		{"long", int64(13280), "8100000000000033e0"},
		{"long negative", int64(math.MinInt64), "818000000000000000"},
		{"float", float32(1.5), "723fc00000"},
		{"double", float64(-2), "82c000000000000000"},
		{"char", Char('é'), "73000000e9"},
		{"timestamp", Timestamp(1603288810715), "83000001754b75c4db"},
		{"timestamp before the epoch", Timestamp(-62135596800000), "83ffffc77cedd32800"},
		{"uuid", UUID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, "98000102030405060708090a0b0c0d0e0f"},
		{"decimal32", Decimal32{1, 2, 3, 4}, "7401020304"},
		{"decimal64", Decimal64{1, 2, 3, 4, 5, 6, 7, 8}, "840102030405060708"},
		{"decimal128", Decimal128{15: 9}, "9400000000000000000000000000000009"},
		{"binary", []byte{1, 2}, "a0020102"},
		{"binary empty", []byte{}, "a000"},
		{"string", "$cbs", "a10424636273"},
		{"string empty", "", "a100"},
		{"symbol", Symbol("put"), "a303707574"},
		{"described symbol", Described{Symbol("a"), "b"}, "00a30161a10162"},
		{"described ulong", Described{uint64(0x77), nil}, "00537740"},
		{"list empty", List{}, "45"},
		{"list", List{uint32(1), nil}, "c00402520140"},
		{"map empty", Map{}, "c10100"},
		{"map", Map{{Symbol("k"), "v"}, {"k", int32(1)}}, "c10c04a3016ba10176a1016b5401"},
		{"symbol array", []Symbol{"ANONYMOUS", "PLAIN"}, "e01202a309414e4f4e594d4f555305504c41494e"},
		{"symbol array of one", []Symbol{"x"}, "e00401a30178"},
		{"symbol array empty", []Symbol{}, "e00200a3"},
		{"string array", []string{"0", "1"}, "e00602a101300131"},
		{"long array", Array{Code: 0x81, Items: []any{int64(1), int64(-1)}}, "e01202810000000000000001ffffffffffffffff"},
		{"long array empty", Array{Code: 0x81, Items: []any{}}, "e0020081"},
		{"boolean array", Array{Code: 0x56, Items: []any{true, false}}, "e00402560100"},
		{"null array", Array{Code: 0x40, Items: []any{nil, nil, nil}}, "e0020340"},
		{"array of described ulongs", Array{Code: 0x80, Descriptor: Symbol("d"), Items: []any{uint64(7)}}, "e00e0100a30164800000000000000007"},
		{"array of lists", Array{Code: 0xd0, Items: []any{List{true}, List{}}}, "e01302d0 000000050000000141 0000000400000000"},
		{"array of binaries", Array{Code: 0xb0, Items: []any{[]byte{9}}}, "e00701b00000000109"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := unhex(t, c.hex)
			got, err := AppendValue([]byte("x"), c.v)
			if err != nil || !bytes.Equal(got[1:], want) {
				t.Fatalf("AppendValue(%#v) = %x, %v; want %x", c.v, got, err, want)
			}
			v, rest, err := DecodeValue(append(want, 0x40))
			if err != nil || !reflect.DeepEqual(v, c.v) || len(rest) != 1 {
				t.Fatalf("DecodeValue(%x) = %#v, %d left, %v; want %#v, 1 left", want, v, len(rest), err, c.v)
			}
		})
	}
}

// Forms that we do not write and must read.
func TestDecodeValueOtherForms(t *testing.T) {
	for _, c := range []struct {
		name, hex string
		want      any
	}{
		{"boolean in two bytes", "5601", true},
		{"wide uint", "7000000001", uint32(1)},
		{"wide ulong", "800000000000000001", uint64(1)},
		{"wide int", "7100000001", int32(1)},
		{"wide long", "810000000000000001", int64(1)},
		{"wide string", "b10000000161", "a"},
		{"wide symbol", "b30000000161", Symbol("a")},
		{"wide binary", "b00000000161", []byte("a")},
		{"list8 empty", "c00100", List{}},
		{"list32", "d0000000050000000140", List{nil}},
		{"map32", "d1 00000006 00000002 41 42", Map{{true, false}}},
		{"array32 of wide symbols", "f00000000a00000001b30000000161", []Symbol{"a"}},
		{"array of small ints", "e0 04 02 54 ff 01", Array{Code: 0x71, Items: []any{int32(-1), int32(1)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := unhex(t, c.hex)
			v, rest, err := DecodeValue(b)
			if err != nil || len(rest) != 0 || !reflect.DeepEqual(v, c.want) {
				t.Fatalf("DecodeValue(%x) = %#v, %x, %v; want %#v", b, v, rest, err, c.want)
			}
		})
	}
}

func TestDecodeValueMalformed(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("00", n) + "40" }
	for _, c := range []struct{ name, hex string }{
		{"nothing", ""},
		{"unknown code", "46"},
		{"unknown wide code", "ff"},
		{"short uint", "700000"},
		{"short uuid", "9800"},
		{"string beyond the end", "a10561"},
		{"string of 4 GiB", "b1ffffffff61"},
		{"string not UTF-8", "a101ff"},
		{"symbol not UTF-8", "a301ff"},
		{"boolean 2", "5602"},
		{"list8 of size 0", "c000"},
		{"list32 of size 3", "d00000000300"},
		{"list beyond the end", "c00a0140"},
		{"list of 4 G items", "d000000005ffffffff40"},
		{"list with more items than bytes", "c0030540 40"},
		{"list with bytes left over", "c003014040"},
		{"list item beyond its list", "c00301a10261"},
		{"map of odd count", "c1040340 4040"},
		{"map with bytes left over", "c104024040 40"},
		{"array without constructor", "e00101"},
		{"array beyond the end", "e01002a3"},
		{"array of 4 G ubytes", "f000000006ffffffff5000"},
		{"array of 4 G nulls", "f000000005ffffffff40"},
		{"array of unknown code", "e0020046"},
		{"array described twice", "e007010053010053 0140"},
		{"described without value", "005310"},
		{"described 40 deep", nested(40)},
		{"lists 33 deep", strings.Repeat("d0000000ff00000001", 33) + "40"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, _, err := DecodeValue(unhex(t, c.hex))
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("DecodeValue = %#v, %v; want ErrMalformed", v, err)
			}
		})
	}
}

func TestDecodeValueBudget(t *testing.T) {
	list := func(n int) []byte {
		b := AppendListHeader(nil, n, n)
		return append(b, bytes.Repeat([]byte{codeNull}, n)...)
	}
	if _, _, err := DecodeValue(list(maxValues)); err != nil {
		t.Errorf("a list of %d nulls: %v", maxValues, err)
	}
	if _, _, err := DecodeValue(list(maxValues + 1)); !errors.Is(err, ErrMalformed) {
		t.Errorf("a list of %d nulls: %v, want ErrMalformed", maxValues+1, err)
	}
}

// What can be encoded nests no deeper than what can be decoded, to the level.
func TestNestingAgrees(t *testing.T) {
	wrap := map[string]func(any) any{
		"lists":     func(v any) any { return List{v} },
		"maps":      func(v any) any { return Map{{"k", v}} },
		"described": func(v any) any { return Described{uint64(1), v} },
		"arrays": func(v any) any {
			if _, ok := v.(Array); !ok {
				return Array{Code: codeNull, Items: []any{v}}
			}
			return Array{Code: codeArray, Items: []any{v}}
		},
	}
	for name, f := range wrap {
		t.Run(name, func(t *testing.T) {
			var v any
			for range maxDepth {
				v = f(v)
			}
			b, err := AppendValue(nil, v)
			if err != nil {
				t.Fatalf("encode %d deep: %v", maxDepth, err)
			}
			if got, _, err := DecodeValue(b); err != nil || !reflect.DeepEqual(got, v) {
				t.Fatalf("decode %d deep: %v", maxDepth, err)
			}
			if _, err := AppendValue(nil, f(v)); err == nil {
				t.Fatalf("encode %d deep: no error", maxDepth+1)
			}
		})
	}
}

func TestAppendValueRefuses(t *testing.T) {
	for name, v := range map[string]any{
		"int":              1,
		"struct":           struct{}{},
		"array of two":     Array{Code: codeLong, Items: []any{int64(1), int32(1)}},
		"array of small":   Array{Code: codeSmallInt, Items: []any{int32(1)}},
		"list with an int": List{1},
		"map with an int":  Map{{"k", 1}},
		"int key":          Map{{1, "v"}},
	} {
		if b, err := AppendValue(nil, v); err == nil {
			t.Errorf("%s: encoded as %x, want an error", name, b)
		}
	}
}

// Compounds change to their wide form at exactly the size the narrow one cannot hold.
func TestCompoundWidths(t *testing.T) {
	for _, n := range []int{0, 1, 252, 253, 254, 255, 256, 70000} {
		text := strings.Repeat("x", n)
		for _, v := range []any{text, Symbol(text), []byte(text), List{text}, Map{{"k", text}}, []string{text, ""}, []Symbol{Symbol(text)}} {
			b, err := AppendValue(nil, v)
			if err != nil {
				t.Fatalf("%T of %d: %v", v, n, err)
			}
			if got, rest, err := DecodeValue(b); err != nil || len(rest) != 0 || !reflect.DeepEqual(got, v) {
				t.Errorf("%T of %d bytes does not come back: %v", v, n, err)
			}
		}
	}
	many := make(List, 256)
	if b, _ := AppendValue(nil, many); b[0] != codeList {
		t.Errorf("256 items in a list of code 0x%02x, want 0xd0", b[0])
	}
}

func drawValue(t *rapid.T, depth int) any {
	top := 16
	if depth < 4 {
		top = 21
	}
	switch rapid.IntRange(0, top).Draw(t, "type") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return rapid.Uint8().Draw(t, "ubyte")
	case 3:
		return rapid.Uint16().Draw(t, "ushort")
	case 4:
		return rapid.Uint32().Draw(t, "uint")
	case 5:
		return rapid.Uint64().Draw(t, "ulong")
	case 6:
		return rapid.Int8().Draw(t, "byte")
	case 7:
		return rapid.Int16().Draw(t, "short")
	case 8:
		return rapid.Int32().Draw(t, "int")
	case 9:
		return rapid.Int64().Draw(t, "long")
	case 10:
		return rapid.Float64().Draw(t, "double")
	case 11:
		return Timestamp(rapid.Int64().Draw(t, "timestamp"))
	case 12:
		return UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid"))
	case 13:
		return rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "binary")
	case 14:
		return rapid.String().Draw(t, "string")
	case 15:
		return Symbol(rapid.StringMatching(`[a-z:-]{0,300}`).Draw(t, "symbol"))
	case 16:
		return Char(rapid.Rune().Draw(t, "char"))
	case 17:
		list := List{}
		for range rapid.IntRange(0, 5).Draw(t, "items") {
			list = append(list, drawValue(t, depth+1))
		}
		return list
	case 18:
		m := Map{}
		for range rapid.IntRange(0, 4).Draw(t, "entries") {
			m = append(m, Entry{drawValue(t, depth+1), drawValue(t, depth+1)})
		}
		return m
	case 19:
		return Described{drawValue(t, depth+1), drawValue(t, depth+1)}
	case 20:
		return rapid.SliceOfN(rapid.String(), 0, 4).Draw(t, "strings")
	}
	items := []any{}
	for range rapid.IntRange(0, 4).Draw(t, "items") {
		items = append(items, rapid.Int32().Draw(t, "int"))
	}
	return Array{Code: codeInt, Items: items}
}

func TestValueRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawValue(t, 0)
		b, err := AppendValue(nil, want)
		if err != nil {
			t.Fatalf("encode %#v: %v", want, err)
		}
		got, rest, err := DecodeValue(b)
		if err != nil || len(rest) != 0 || !reflect.DeepEqual(got, want) {
			t.Fatalf("%#v came back as %#v from %x: %v", want, got, b, err)
		}
	})
}

func TestMapGet(t *testing.T) {
	m := Map{{[]byte("k"), 0}, {Symbol("k"), 1}, {"k", 2}, {"s", 3}}
	if v, ok := m.Get("k"); !ok || v != 1 {
		t.Errorf(`Get("k") = %v, %v; want the symbol's value 1`, v, ok)
	}
	if v, ok := m.Get("s"); !ok || v != 3 {
		t.Errorf(`Get("s") = %v, %v; want 3`, v, ok)
	}
	if v, ok := m.Get("none"); ok {
		t.Errorf(`Get("none") = %v, want none`, v)
	}
}
