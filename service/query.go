package service

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"strconv"
)

// Page is one page of a query's answer.
type Page struct {
	// Items are the rows, each a JSON object.
	Items []json.RawMessage
	// Type says what the rows are: Twin for SELECT *, Raw for a projection or an aggregate, DeviceJob for devices.jobs.
	Type string
	// Continuation asks for the next page; empty after the last. A page may hold less than was asked for, even nothing,
	// and still not be the last.
	Continuation string
}

// QueryPage returns one page of the answer to a query of the IoT Hub query language, such as
// "SELECT * FROM devices WHERE tags.site = 'a'". The continuation is that of the page before, for the same text, or "".
// Size is the most rows wanted, 1 to 100; 0 leaves it to the hub. Fails with CodeArgumentInvalid for a query that is not
// well formed. Sends POST /devices/query.
func (c *Client) QueryPage(ctx context.Context, text, continuation string, size int) (*Page, error) {
	body, err := encode(struct {
		Query string `json:"query"`
	}{text})
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	r := request{method: http.MethodPost, path: "/devices/query", body: body, header: map[string]string{}}
	if continuation != "" {
		r.header["x-ms-continuation"] = continuation
	}
	if size != 0 {
		r.header["x-ms-max-item-count"] = strconv.Itoa(size)
	}
	header, answer, err := c.do(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	page := &Page{Type: header.Get("x-ms-item-type"), Continuation: header.Get("x-ms-continuation")}
	if err := json.Unmarshal(answer, &page.Items); err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	return page, nil
}

// Query returns the rows of a query's answer, fetching pages as they are needed. An error ends the sequence, as its last
// element. Stop early by breaking out of the loop.
func (c *Client) Query(ctx context.Context, text string) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		for continuation := ""; ; {
			page, err := c.QueryPage(ctx, text, continuation, 0)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if continuation = page.Continuation; continuation == "" {
				return
			}
		}
	}
}

// QueryTwins is Query for a query whose rows are whole twins ("SELECT * FROM devices ...", or devices.modules).
func (c *Client) QueryTwins(ctx context.Context, text string) iter.Seq2[*Twin, error] {
	return func(yield func(*Twin, error) bool) {
		for item, err := range c.Query(ctx, text) {
			if err != nil {
				yield(nil, err)
				return
			}
			twin, err := DecodeTwin(item)
			if !yield(twin, err) || err != nil {
				return
			}
		}
	}
}
