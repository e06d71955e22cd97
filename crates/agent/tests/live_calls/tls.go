// A server and a client of Go's own TLS, for the tests beside it.
//
//	tls serve ADDRESS CERTIFICATE KEY   answers everything
//	tls ask URL COUNT                   asks for /small for each line it reads; at the end
//	                                    COUNT times for /large, by four at once
package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"sync"
)

func main() {
	switch os.Args[1] {
	case "serve":
		answer := func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.URL.Path) }
		log.Fatal(http.ListenAndServeTLS(os.Args[2], os.Args[3], os.Args[4], http.HandlerFunc(answer)))
	case "ask":
		count, err := strconv.Atoi(os.Args[3])
		if err != nil {
			log.Fatal(err)
		}
		ask(os.Args[2], count)
	}
}

func ask(url string, count int) {
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		MaxIdleConnsPerHost: 4,
	}
	client := &http.Client{Transport: transport}
	get := func(path string) {
		answer, err := client.Get(url + path)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			log.Fatal(err)
		}
		answer.Body.Close()
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		get("/small")
	}
	var all sync.WaitGroup
	for i := 0; i < 4; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := 0; n < count/4; n++ {
				get("/large")
			}
		}()
	}
	all.Wait()
}
