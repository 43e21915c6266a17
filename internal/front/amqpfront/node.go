package amqpfront

import (
	"context"
	"sync"

	"github.com/twinhub/twinhub/internal/wire/amqp"
)

// A node answers requests: the peer attaches one link to send them and one to receive the answers. Clients fill
// reply-to as they like, so an answer goes to a link of the same connection and node: best to one that has the
// reply-to as its target, else to one of the same session, else to any; of equals to the newest.
type node struct {
	conn   *conn
	name   string
	handle func(*amqp.Message) *amqp.Message
}

// answers is an answer link with what waits for its credit.
type answers struct {
	conn   *conn
	link   *amqp.Sender
	node   string
	ctx    context.Context // ends with the link
	cancel context.CancelFunc

	mu      sync.Mutex
	waiting [][]byte
	sending bool // a goroutine sends what waits
}

// Bounds of nodes.
const (
	// maxWaiting is how many answers a peer may leave unread.
	maxWaiting = 100
	// maxRequest is the largest request in bytes: a token with its properties.
	maxRequest = 64 << 10
	// maxStrangerLinks is how many links a peer without a valid token may have. Some clients attach a pair for each of
	// their first readers at once.
	maxStrangerLinks = 64
)

// attachNode accepts either link of a node.
func (c *conn) attachNode(l amqp.Link, name string, handle func(*amqp.Message) *amqp.Message) {
	if c.nodeLinks >= maxStrangerLinks && !c.signedIn() {
		c.refuse(l, amqp.CondResourceLimitExceeded, "look for a client that cannot sign in, or an attack", "%d links are attached and there is no valid token.", c.nodeLinks)
		return
	}
	c.nodeLinks++
	switch l := l.(type) {
	case *amqp.Receiver:
		l.SetValue(&node{conn: c, name: name, handle: handle})
	case *amqp.Sender:
		a := &answers{conn: c, link: l, node: name}
		a.ctx, a.cancel = context.WithCancel(c.ctx)
		l.SetValue(a)
		c.mu.Lock()
		c.answers = append(c.answers, a)
		c.mu.Unlock()
	}
	// An error means that the link has ended, which OnDetach reports.
	_ = l.Accept(amqp.Accept{})
}

// detachAnswers forgets an answer link.
func (c *conn) detachAnswers(a *answers) {
	a.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.answers {
		if c.answers[i] == a {
			c.answers = append(c.answers[:i], c.answers[i+1:]...)
			return
		}
	}
}

// answerLink finds where the answer to a request of a link goes, nil if nowhere.
func (c *conn) answerLink(name string, session *amqp.Session, replyTo string) *answers {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found *answers
	best := -1
	for _, a := range c.answers {
		if a.node != name {
			continue
		}
		score := 0
		if target := a.link.Target(); replyTo != "" && target != nil && target.Address == replyTo {
			score += 2
		}
		if a.link.Session() == session {
			score++
		}
		if score >= best {
			found, best = a, score
		}
	}
	return found
}

// request serves one request.
func (n *node) request(r *amqp.Receiver, d *amqp.Delivery) {
	m, err := amqp.DecodeMessage(d.Payload)
	if err != nil {
		d.Settle(amqp.Rejected{Error: amqp.Errorf(amqp.CondDecodeError, "%v", err)})
		return
	}
	reply, replyTo := n.handle(m), ""
	if m.Properties != nil {
		replyTo = m.Properties.ReplyTo
		if m.Properties.MessageID != nil {
			reply.Properties = &amqp.Properties{CorrelationID: m.Properties.MessageID}
		}
	}
	encoded, err := amqp.AppendMessage(nil, reply)
	if err != nil {
		d.Settle(amqp.Rejected{Error: amqp.Errorf(amqp.CondInternalError, "%v", err)})
		return
	}
	d.Settle(amqp.Accepted{})
	if a := n.conn.answerLink(n.name, r.Session(), replyTo); a != nil {
		a.add(encoded)
	}
}

// add queues an answer. Only the goroutine that reads the connection calls it.
func (a *answers) add(encoded []byte) {
	a.mu.Lock()
	if len(a.waiting) >= maxWaiting {
		a.mu.Unlock()
		a.link.Detach(amqp.Errorf(amqp.CondResourceLimitExceeded, "%d answers wait for credit.", maxWaiting))
		return
	}
	a.waiting = append(a.waiting, encoded)
	idle := !a.sending
	a.sending = true
	a.mu.Unlock()
	if idle {
		a.conn.pumps.Go(a.send)
	}
}

// send sends what waits, as credit and the room that events leave on the connection allow.
func (a *answers) send() {
	for {
		a.mu.Lock()
		if len(a.waiting) == 0 {
			a.sending = false
			a.link.Drained()
			a.mu.Unlock()
			return
		}
		next := a.waiting[0]
		a.waiting = a.waiting[1:]
		a.mu.Unlock()
		if _, err := a.link.Send(a.ctx, amqp.Outgoing{Payload: [][]byte{next}, Settled: true}); err != nil {
			return // the link has ended, and nothing more is sent on it
		}
	}
}

// flow answers a peer that asks for a drain while nothing waits.
func (a *answers) flow() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.sending {
		a.link.Drained()
	}
}
